// How several become one: the method, what it does in plain words, and what it asks for.

import { api } from "./api.js";
import { h } from "./dom.js";
import { live } from "./live.js";
import { draft } from "./merge_draft.js";
import { choice, number, turn } from "./merge_fields.js";
import { loss } from "./merge_plots.js";

// When one would take it; what it does is told by the engine.
const ADVICE = {
  weighted_sum: "The right one unless you have a reason.",
  concat: "The same result as the weighted sum, kept as wide as all inputs together. For a large file that can be resized later.",
  svd: "When the file must be small. Look at the error in the preview and choose the smallest rank that you can live with.",
  dynamic: "When the file should be small only where it loses nothing: each layer gets the rank that it needs.",
  ties: "When several styles or subjects fight each other: weak changes are dropped, and where signs differ the stronger side wins.",
  dare: "When many adapters are put together and the result is overdone: most changes are dropped at random, the rest is scaled up.",
  dare_ties: "As DARE, and where signs still differ the stronger side wins.",
  magnitude_prune: "When an adapter has picked up noise: only its strongest changes are kept.",
  add_difference: "To carry over what a second version has more than a third: first + weight × (second − third). Takes three.",
  orthogonal: "When the inputs say much the same and together are too strong: of each only what the ones before do not say.",
};
const CHECKPOINT = {
  weighted: "Each number is the average of the models' numbers, by their weights.",
  add_difference: "The first model plus what the second has more than the third, times the second's weight. Takes three models.",
};

// What a loss of that size still leaves: the same pictures.
const NEGLIGIBLE = 1e-3;

// Whether the file does what the stack does, as far as it is known.
function faithful() {
  const { lost } = draft;
  if (lost !== null) return lost < NEGLIGIBLE ? "The file gives the same pictures as the stack." : `This file differs from the stack: its loss is ${loss(lost)}.`;
  if (draft.rule !== "none") return "The ranks are limited below: the preview says what that loses.";
  if (draft.kind === "auto") return "The file gives the same pictures as the stack; only where exact would be huge a little is cut away, and the preview says how much.";
  return "The file gives the same pictures as the stack.";
}

export class MergeMethodPart {
  constructor() {
    this.methods = [];
    this.method = choice("Method", [["weighted_sum", "Weighted sum"]], (method) => this.take(method));
    this.checkpoint = choice("Method", [["weighted", "Weighted average"], ["add_difference", "Add difference"]], (checkpointMethod) => draft.set({ checkpointMethod }));
    this.words = h("p", { class: "easel-merge-words" });
    this.advice = h("p", { class: "easel-hint" });
    const option = (name) => (value) => draft.set({ options: { ...draft.options, [name]: value } });
    this.options = {
      density: number("Keep", option("density"), { min: 0.01, max: 1, step: 0.05, title: "Which share of the values is kept: 0.5 is half of them." }),
      majority: choice("Which sign wins", [["total", "the larger sum"], ["frequency", "the more frequent"]], option("majority")),
      seed: number("Seed", option("seed"), { min: 0, max: 2 ** 32 - 1, title: "Of what is dropped at random; the same seed gives the same file." }),
    };
    this.normalise = turn("Weights as shares of 1", (on) => draft.set(draft.task === "checkpoint" ? { checkpointNormalise: on } : { normalise: on }), { title: "Divide the weights by their sum first." });
    this.fields = h("div", { class: "easel-merge-fields" }, ...Object.values(this.options).map((each) => each.element));
    this.element = h("section", { class: "easel-card easel-merge-part", "aria-label": "How" }, h("header", {}, h("h3", { text: "How" })), this.method.element, this.checkpoint.element, this.words, this.advice, this.fields, this.normalise.element);
    for (const kind of ["task", "values", "seen"]) draft.addEventListener(kind, () => this.update());
    live.addEventListener("engine", () => !this.methods.length && this.learn());
    this.learn();
    this.update();
  }

  async learn() {
    try {
      this.methods = (await api.listMethods({ quiet: true })).methods;
    } catch (error) {
      this.fault = error.message;
      return this.update();
    }
    this.fault = "";
    const groups = [["Same as the stack", this.methods.filter((one) => one.exact)], ["Settles what the stack does not", this.methods.filter((one) => !one.exact)]];
    this.method.select.replaceChildren(...groups.filter(([, list]) => list.length).map(([label, list]) => h("optgroup", { label }, ...list.map((one) => h("option", { value: one.id, text: one.title })))));
    this.update();
  }

  // Some methods are nothing without a limit of the rank.
  take(method) {
    const reduces = this.methods.find((one) => one.id === method)?.needs_reduction ?? false;
    draft.set({ method, reduces, ...(reduces && draft.rule === "none" ? { rule: method === "dynamic" ? "energy" : "rank" } : {}) });
  }

  get view() {
    return this.methods.find((one) => one.id === draft.method);
  }

  update() {
    const checkpoint = draft.task === "checkpoint";
    this.element.hidden = !["merge", "checkpoint"].includes(draft.task);
    this.method.element.hidden = checkpoint;
    this.checkpoint.element.hidden = !checkpoint;
    this.method.show(draft.method);
    this.checkpoint.show(draft.checkpointMethod);
    this.normalise.show(checkpoint ? draft.checkpointNormalise : draft.normalise);
    this.normalise.element.hidden = checkpoint && draft.checkpointMethod === "add_difference";
    const { view } = this;
    this.words.textContent = checkpoint ? CHECKPOINT[draft.checkpointMethod] : (view?.summary ?? (this.methods.length ? `There is no method “${draft.method}” here.` : (this.fault ?? "")));
    this.advice.textContent = checkpoint ? "" : [ADVICE[draft.method], view?.exact ? faithful() : ""].filter(Boolean).join(" ");
    for (const [name, part] of Object.entries(this.options)) {
      part.element.hidden = checkpoint || !view?.options.includes(name);
      part.show(draft.options[name]);
    }
    this.fields.hidden = [...this.fields.children].every((child) => child.hidden);
  }
}
