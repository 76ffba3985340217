// One adapter or checkpoint that goes in: its weights, and where it stands.

import { openAdapter } from "./adapter_drawer.js";
import { adapterPicture } from "./adapter_picture.js";
import { BlockWeights } from "./block_weights.js";
import { h, icon, tool } from "./dom.js";
import { familyName } from "./family.js";
import { draft } from "./merge_draft.js";
import { models } from "./models.js";
import { say } from "./say.js";
import { shelf, titleOf } from "./shelf.js";
import { WeightSlider } from "./weight_slider.js";

const WORDS = {
  unet: "How strongly it goes in: 0 is not at all, 1 as it is, below 0 the opposite.",
  text: "How strongly its change of the text encoder (how the prompt is read) goes in.",
  text2: "The same for SDXL's second text encoder.",
};

// `adapter` says which kind of row this is.
export class MergeRow {
  constructor(row, { adapter }) {
    Object.assign(this, { row, adapter });
    const set = (change) => draft.setRow(row.key, change);
    this.grip = h("button", { type: "button", class: "easel-grip" }, icon("grip"));
    this.title = h("strong", { class: "easel-row-title" });
    this.facts = h("span", { class: "easel-quiet easel-merge-facts" });
    this.unet = new WeightSlider({ label: "Weight", title: WORDS.unet, change: (weight) => set({ weight }) });
    this.element = h("li", { class: "easel-adapter easel-merge-row", "data-key": row.key, "data-name": row.name });
    const bin = tool("bin", "Take it out", () => this.remove());
    if (adapter) this.buildAdapter(set, bin);
    else this.element.append(h("div", { class: "easel-row-head" }, this.grip, h("div", { class: "easel-row-names" }, h("div", { class: "easel-row-line" }, this.title, bin), this.facts)), this.unet.element);
    this.update();
  }

  buildAdapter(set, bin) {
    const { row } = this;
    this.picture = h("button", { type: "button", class: "easel-row-picture", title: "About this adapter", onclick: () => openAdapter(row.name) });
    this.text = new WeightSlider({ label: "Text", title: WORDS.text, change: (text_weight) => set({ text_weight }), rest: () => row.weight });
    this.text2 = new WeightSlider({ label: "Text 2", title: WORDS.text2, change: (text_weight_2) => set({ text_weight_2 }), rest: () => row.text_weight ?? row.weight });
    this.link = h("button", { type: "button", class: "easel-link-weights", onclick: () => this.turnLink(set) });
    this.blocks = new BlockWeights({ change: (blocks) => set({ blocks }) });
    this.more = h("div", { class: "easel-row-more", hidden: row.blocks.length === 0 }, this.blocks.element);
    this.moreButton = tool("more", "Block weights", () => {
      this.more.hidden = !this.more.hidden;
      if (!this.more.hidden) this.blocks.element.open = true;
      this.moreButton.setAttribute("aria-expanded", String(!this.more.hidden));
    });
    this.moreButton.setAttribute("aria-expanded", String(!this.more.hidden));
    const buttons = h("div", { class: "easel-row-buttons" }, this.moreButton, bin);
    this.element.append(
      h("div", { class: "easel-row-head" }, this.grip, this.picture, h("div", { class: "easel-row-names" }, h("div", { class: "easel-row-line" }, this.title, buttons), this.facts)),
      h("div", { class: "easel-weights" }, this.unet.element, this.text.element, this.text2.element, this.link),
      this.more,
    );
    shelf.learn(row.name).then(() => this.update());
  }

  get linked() {
    return this.row.text_weight === null;
  }

  get name() {
    return this.adapter ? titleOf(this.row.name) : models.titleOf(this.row.name);
  }

  update() {
    const { row, name } = this;
    const place = draft.rows.indexOf(row) + 1;
    this.title.textContent = name;
    this.element.setAttribute("aria-label", name);
    this.grip.setAttribute("aria-label", `Move ${name}, now ${place} of ${draft.rows.length}`);
    this.grip.title = "Drag, or use the arrow keys. The order counts for “keep only what is new” and for differences.";
    this.unet.show(row.weight);
    if (this.adapter) this.updateAdapter();
  }

  updateAdapter() {
    const { row } = this;
    const view = shelf.get(row.name);
    if (view !== this.view || !this.picture.firstChild) {
      this.view = view;
      this.picture.replaceChildren(adapterPicture(view ?? { title: row.name }));
      this.picture.setAttribute("aria-label", `About ${this.name}`);
    }
    this.facts.textContent = shelf.missing(row.name) ? "not in the library" : [familyName(view?.family), view?.kind, view?.rank ? `rank ${view.rank}` : ""].filter(Boolean).join(" · ");
    this.facts.toggleAttribute("data-bad", shelf.missing(row.name));
    this.unet.name(this.linked ? "Weight" : "UNet");
    this.text.element.hidden = this.linked;
    this.text2.element.hidden = this.linked || view?.family !== "sdxl";
    this.text.show(this.linked ? row.weight : row.text_weight);
    this.text2.show(row.text_weight_2 ?? row.text_weight ?? row.weight);
    this.blocks.show(row.blocks, view?.family);
    this.link.replaceChildren(icon(this.linked ? "linked" : "unlinked"));
    this.link.title = this.linked ? "One weight for UNet and text encoder; click for two" : "Two weights; click for one";
    this.link.setAttribute("aria-label", "One weight for UNet and text encoder");
    this.link.setAttribute("aria-pressed", String(this.linked));
  }

  turnLink(set) {
    set({ text_weight: this.linked ? this.row.weight : null, text_weight_2: null });
  }

  remove() {
    const undo = draft.remove(this.row.key);
    say(`${this.name} does not go in any more.`, { action: "Undo", onAction: undo });
  }
}
