// Block weights in A1111's order: how strongly an adapter acts in each part of the UNet.

import { h } from "./dom.js";

const numbered = (letter, numbers) => numbers.map((number) => `${letter}${String(number).padStart(2, "0")}`);
const upTo = (count) => [...Array(count).keys()];
const OUT_SD = numbered("OUT", upTo(12));
// What the lists of each length stand for; the first of a family is what a new list takes.
const LAYOUTS = {
  17: ["BASE", ...numbered("IN", [1, 2, 4, 5, 7, 8]), "MID", ...OUT_SD.slice(3)],
  26: ["BASE", ...numbered("IN", upTo(12)), "MID", ...OUT_SD],
  12: ["BASE", ...numbered("IN", [4, 5, 7, 8]), "MID", ...numbered("OUT", upTo(6))],
  20: ["BASE", ...numbered("IN", upTo(9)), "MID", ...numbered("OUT", upTo(9))],
};
const LENGTHS = { sdxl: [12, 20] };
// `depth` is 0 in the middle of the UNet and 1 at its ends.
const PRESETS = [
  ["All", "No block weights: everything acts fully.", null],
  ["Composition", "Only the middle of the UNet, where the picture is laid out.", (depth) => depth <= 0.5],
  ["Details", "Only the outer blocks, where edges and texture are painted.", (depth) => depth > 0.5],
];

export class BlockWeights {
  constructor({ change }) {
    this.change = change;
    this.bars = h("div", { class: "easel-blocks", role: "group", "aria-label": "Block weights" });
    this.text = h("input", { type: "text", class: "easel-block-text", "aria-label": "Block weights as a list", placeholder: "all 1", spellcheck: "false" });
    this.text.addEventListener("change", () => this.typed());
    this.fault = h("p", { class: "easel-fault", role: "alert", hidden: true });
    this.presets = h("div", { class: "easel-mini-buttons" });
    this.element = h(
      "details",
      { class: "easel-block-part" },
      h("summary", { text: "Block weights", title: "Weaken or leave out parts of the UNet. The list is the one that A1111's extension takes." }),
      this.presets,
      this.bars,
      this.text,
      this.fault,
    );
    // Many bars in many rows: they are made when somebody looks.
    this.element.addEventListener("toggle", () => this.draw());
  }

  lengths() {
    return LENGTHS[this.family] ?? [17, 26];
  }

  show(blocks, family) {
    this.blocks = blocks;
    this.family = family;
    this.draw();
  }

  draw() {
    const { blocks, family } = this;
    const key = JSON.stringify([blocks, family]);
    if (key === this.key || !this.element.open) return;
    this.key = key;
    this.text.value = blocks.join(",");
    this.fault.hidden = true;
    const names = LAYOUTS[blocks.length] ?? LAYOUTS[this.lengths()[0]];
    if (this.names !== names) {
      this.names = names;
      this.bars.replaceChildren(...names.map((name, place) => this.bar(name, place)));
      this.presets.replaceChildren(...PRESETS.map(([label, title, keeps]) => this.preset(label, title, keeps)));
    }
    [...this.bars.children].forEach((bar, place) => {
      const value = blocks[place] ?? 1;
      bar.firstChild.value = value;
      bar.title = `${names[place]}: ${value}`;
      bar.style.setProperty("--share", `${Math.max(0, Math.min(1, value)) * 100}%`);
    });
  }

  bar(name, place) {
    const slider = h("input", { type: "range", min: 0, max: 1, step: 0.05, "aria-label": `Block ${name}`, "aria-orientation": "vertical" });
    slider.addEventListener("input", () => {
      const blocks = this.blocks.length ? [...this.blocks] : this.names.map(() => 1);
      blocks[place] = Number(slider.value);
      this.change(blocks);
    });
    return h("label", { class: "easel-block" }, slider, h("span", { text: name }));
  }

  preset(label, title, keeps) {
    const middle = this.names.indexOf("MID");
    const depth = (place) => Math.abs(place - middle) / (place < middle ? middle - 1 : this.names.length - 1 - middle);
    const weights = () => this.names.map((name, place) => (name === "BASE" || keeps(depth(place)) ? 1 : 0));
    return h("button", { type: "button", class: "easel-mini", text: label, title, onclick: () => this.change(keeps ? weights() : []) });
  }

  typed() {
    const parts = this.text.value.split(/[\s,;]+/).filter(Boolean);
    const numbers = parts.map(Number);
    const lengths = this.lengths();
    const fits = parts.length === 0 || (lengths.includes(parts.length) && numbers.every(Number.isFinite));
    this.fault.hidden = fits;
    this.fault.textContent = `For this model these are ${lengths.join(" or ")} numbers with commas between them; here are ${parts.length}.`;
    if (fits) this.change(numbers);
  }
}
