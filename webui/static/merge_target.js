// What the file becomes: exact or reduced, its kind, its keys, its precision.

import { h } from "./dom.js";
import { draft } from "./merge_draft.js";
import { choice, number, turn } from "./merge_fields.js";
import { live } from "./live.js";
import { Picker } from "./merge_picker.js";
import { models } from "./models.js";

const RULES = [
  ["none", "As they come out"],
  ["rank", "A fixed rank"],
  ["energy", "As small as this energy allows"],
  ["ratio", "Drop singular values below a ratio"],
  ["cumulative", "As small as this sum allows"],
];
const RULE_WORDS = {
  none: "Nothing is cut away; the ranks of the inputs add up.",
  auto: "The ranks of the inputs add up. Nothing is cut away, but for layers where that takes a very large rank: those keep 99.9 %, and the preview says what that loses.",
  rank: "Each layer is cut to this rank: a file of known size. The preview tells what that loses.",
  energy: "Each layer keeps as many ranks as hold this share of its energy (the sum of squared singular values).",
  ratio: "Singular values are kept that are larger than the largest divided by this.",
  cumulative: "Each layer keeps as many ranks as hold this share of the sum of its singular values.",
};
const LAYOUTS = [["kohya", "kohya (every program)"], ["diffusers", "diffusers, PEFT"], ["lycoris", "LyCORIS"]];
const DTYPES = [["float16", "float16"], ["bfloat16", "bfloat16"], ["float32", "float32 (twice the size)"]];

export class MergeTarget {
  constructor() {
    const set = (name) => (value) => draft.set({ [name]: value });
    this.kind = choice("Kind of file", [["auto", "LoRA (99.9 % where exact would be huge)"], ["lora", "LoRA, exact"], ["full", "Every change as it is (large)"]], set("kind"), { title: "LoHa and LoKr become LoRA; where that takes a very large rank, the preview shows all ways with their size and error." });
    this.extractKind = choice("Kind of file", [["lora", "LoRA"], ["lokr", "LoKr (smaller, coarser)"]], set("extractKind"));
    this.rule = choice("Ranks", RULES, set("rule"));
    this.words = h("p", { class: "easel-hint" });
    this.numbers = {
      rank: number("Rank", set("rank"), { min: 1, max: 2048 }),
      energy: number("Energy kept", set("energy"), { min: 0.01, max: 1, step: 0.001 }),
      ratio: number("Ratio", set("ratio"), { min: 1, max: 10000, step: 0.5 }),
      cumulative: number("Sum kept", set("cumulative"), { min: 0.01, max: 1, step: 0.01 }),
      convRank: number("Rank of convolutions", set("convRank"), { min: 1, max: 2048, optional: true, placeholder: "the same" }),
      factor: number("Factor", set("factor"), { min: -1, max: 128, title: "LoKr: the first factor has at most so many rows; −1 is as square as it goes." }),
      smallest: number("Leave out layers that differ less than", set("smallest"), { min: 0, max: 1, step: 0.000001 }),
    };
    this.layout = choice("Keys for", LAYOUTS, set("layout"), { title: "How the layers are named in the file. kohya's names are read by every program." });
    this.dtype = choice("Precision", DTYPES, set("dtype"));
    this.keep = h("option", { value: "", text: "as in the file" });
    this.text = turn("With the text encoder", set("textEncoders"), { title: "Off: only what changes the picture itself is kept, not how the prompt is read." });
    this.base = new Picker({ kind: "model", label: "Base model", placeholder: "only if it is asked for", title: "Kinds whose change depends on the model (DoRA, OFT, BOFT) are worked out against this one.", keep: true, pick: (view) => draft.set({ base: view.id }) });
    this.noBase = h("button", { type: "button", class: "easel-mini", text: "None", onclick: () => draft.set({ base: "" }) });
    this.baseField = h("div", { class: "easel-merge-field" }, h("span", { class: "easel-merge-label", text: "Base model" }), h("div", { class: "easel-merge-line" }, this.base.element, this.noBase));
    this.fields = h("div", { class: "easel-merge-fields" }, ...Object.values(this.numbers).map((each) => each.element));
    this.heading = h("h3", { text: "What it becomes" });
    this.element = h("section", { class: "easel-card easel-merge-part", "aria-label": "What it becomes" }, h("header", {}, this.heading), this.kind.element, this.extractKind.element, this.rule.element, this.words, this.fields, h("div", { class: "easel-merge-fields" }, this.layout.element, this.dtype.element), this.text.element, this.baseField);
    for (const kind of ["task", "rows", "values"]) draft.addEventListener(kind, () => this.update());
    models.addEventListener("change", () => this.update());
    live.addEventListener("form", () => this.update());
    this.update();
  }

  update() {
    const { task, rule } = draft;
    const shown = { merge: "adapter", resize: "adapter", extract: "extract", convert: "convert" }[task];
    this.element.hidden = !shown;
    if (!shown) return;
    const reduces = shown !== "convert";
    this.kind.element.hidden = shown !== "adapter";
    this.extractKind.element.hidden = shown !== "extract";
    this.rule.element.hidden = this.words.hidden = !reduces;
    for (const option of this.rule.select.options) option.hidden = option.disabled = option.value === "none" && (task !== "merge" || draft.reduces);
    this.kind.show(draft.kind);
    this.extractKind.show(draft.extractKind);
    this.rule.show(rule);
    this.words.textContent = rule === "none" && draft.kind === "auto" ? RULE_WORDS.auto : RULE_WORDS[rule];
    const extractsLokr = shown === "extract" && draft.extractKind === "lokr";
    const wanted = { rank: reduces && rule === "rank", energy: reduces && rule === "energy", ratio: reduces && rule === "ratio", cumulative: reduces && rule === "cumulative", convRank: reduces && rule === "rank", factor: extractsLokr, smallest: shown === "extract" };
    for (const [name, part] of Object.entries(this.numbers)) {
      part.element.hidden = !wanted[name];
      part.show(draft[name]);
    }
    if (task === "convert" && !this.keep.isConnected) this.dtype.select.prepend(this.keep);
    else if (task !== "convert") this.keep.remove();
    this.layout.show(draft.layout);
    this.dtype.show(draft.dtype);
    this.text.show(draft.textEncoders);
    this.baseField.hidden = shown === "extract";
    this.noBase.hidden = !draft.base;
    const assumed = shown === "extract" ? null : draft.assumedBase();
    this.base.show(draft.base, models.get(draft.base));
    this.base.field.placeholder = assumed ? `${models.titleOf(assumed)} (as in Text to image)` : "only if it is asked for";
  }

  askForBase() {
    this.base.field.focus();
    this.baseField.scrollIntoView({ block: "center" });
  }
}
