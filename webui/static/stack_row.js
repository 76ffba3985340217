// One adapter in the stack: switch, weights, steps, blocks, words, and what of it fits the model.

import { openAdapter } from "./adapter_drawer.js";
import { adapterPicture } from "./adapter_picture.js";
import { BlockWeights } from "./block_weights.js";
import { h, icon, tool } from "./dom.js";
import { MatchBadge } from "./match_badge.js";
import { match } from "./match.js";
import { say } from "./say.js";
import { shelf, titleOf } from "./shelf.js";
import { stack } from "./stack.js";
import { StepRange } from "./step_range.js";
import { TriggerChips } from "./trigger_chips.js";
import { WeightSlider } from "./weight_slider.js";

export class StackRow {
  constructor(row) {
    this.row = row;
    const set = (change) => stack.set(row.key, change);
    const rest = () => shelf.get(row.name)?.default_weight ?? 1;
    this.grip = h("button", { type: "button", class: "easel-grip" }, icon("grip"));
    this.picture = h("button", { type: "button", class: "easel-row-picture", title: "About this adapter", onclick: () => openAdapter(row.name) });
    this.title = h("strong", { class: "easel-row-title" });
    this.badge = new MatchBadge(row);
    this.on = h("input", { type: "checkbox", role: "switch", class: "easel-switch", onchange: () => set({ enabled: this.on.checked }) });
    this.unet = new WeightSlider({ label: "UNet", title: "How strongly it changes the picture: 0 is off, 1 as trained, below 0 the opposite.", change: (value) => set({ unet_weight: value }), rest });
    this.text = new WeightSlider({ label: "Text", title: "How strongly it changes the reading of the prompt (the text encoder).", change: (value) => set({ text_weight: value }), rest });
    this.link = h("button", { type: "button", class: "easel-link-weights", onclick: () => this.turnLink() });
    this.words = new TriggerChips(() => set({ add_trigger_words: false }));
    this.steps = new StepRange({ change: set });
    this.blocks = new BlockWeights({ change: (blocks) => set({ blocks }) });
    this.more = h("div", { class: "easel-row-more", hidden: true }, this.steps.element, this.blocks.element);
    this.moreButton = tool("more", "Steps and blocks", () => this.turnMore());
    this.moreButton.setAttribute("aria-expanded", "false");
    const buttons = h("div", { class: "easel-row-buttons" }, this.moreButton, tool("bin", "Remove from the stack", () => this.remove()));
    const names = h(
      "div",
      { class: "easel-row-names" },
      h("div", { class: "easel-row-line" }, this.title, this.on),
      h("div", { class: "easel-row-line" }, this.badge.element, buttons),
    );
    this.element = h(
      "li",
      { class: "easel-adapter", "data-key": row.key, "data-name": row.name },
      h("div", { class: "easel-row-head" }, this.grip, this.picture, names),
      this.badge.details,
      h("div", { class: "easel-weights" }, this.unet.element, this.text.element, this.link),
      this.words.element,
      this.more,
    );
    // What is set already should be seen.
    if (row.start > 0 || row.end < 1 || row.blocks.length) this.turnMore();
    this.update();
  }

  get linked() {
    return this.row.text_weight === null || this.row.text_weight === undefined;
  }

  update() {
    const { row } = this;
    const view = shelf.get(row.name);
    const title = titleOf(row.name);
    if (this.view !== view || this.name !== title) {
      this.view = view;
      this.name = title;
      this.picture.replaceChildren(adapterPicture(view ?? { title }));
      this.picture.setAttribute("aria-label", `About ${title}`);
      this.title.textContent = title;
      this.title.title = view ? [view.kind, view.rank ? `rank ${view.rank}` : "", view.file].filter(Boolean).join(" · ") : row.name;
      this.on.setAttribute("aria-label", `${title} is on`);
      this.element.setAttribute("aria-label", title);
    }
    const place = stack.rows.indexOf(row) + 1;
    this.grip.setAttribute("aria-label", `Move ${title}, now ${place} of ${stack.rows.length}`);
    this.grip.title = "Drag, or use the arrow keys. The first in the list is applied first.";
    this.on.checked = row.enabled;
    this.on.title = row.enabled ? "On: click to leave it out" : "Off: click to use it";
    this.element.classList.toggle("easel-off", !row.enabled);
    this.unet.show(row.unet_weight);
    this.text.show(this.linked ? row.unet_weight : row.text_weight);
    this.text.element.hidden = this.linked;
    this.unet.name(this.linked ? "Weight" : "UNet");
    this.drawLink();
    this.steps.show(row.start, row.end);
    this.blocks.show(row.blocks, view?.family || match.family);
    this.words.show(view?.trigger_words ?? NO_WORDS);
    this.badge.update();
  }

  drawLink() {
    if (this.link.dataset.linked === String(this.linked)) return;
    this.link.dataset.linked = String(this.linked);
    const label = this.linked ? "One weight for both; click for two" : "Two weights; click for one";
    this.link.replaceChildren(icon(this.linked ? "linked" : "unlinked"));
    this.link.title = label;
    this.link.setAttribute("aria-label", "One weight for UNet and text encoder");
    this.link.setAttribute("aria-pressed", String(this.linked));
  }

  turnLink() {
    stack.set(this.row.key, { text_weight: this.linked ? this.row.unet_weight : null });
  }

  turnMore() {
    this.more.hidden = !this.more.hidden;
    this.moreButton.setAttribute("aria-expanded", String(!this.more.hidden));
  }

  remove() {
    const title = titleOf(this.row.name);
    const undo = stack.remove(this.row.key);
    say(`${title} is out of the stack.`, { action: "Undo", onAction: undo });
  }

  flash() {
    this.element.classList.remove("easel-flash");
    void this.element.offsetWidth;
    this.element.classList.add("easel-flash");
    this.element.scrollIntoView({ block: "nearest" });
  }
}

const NO_WORDS = [];
