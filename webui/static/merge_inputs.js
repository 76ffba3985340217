// What goes in: rows of adapters or checkpoints, or the single fields of a task.

import { arrange, h, tool } from "./dom.js";
import { draft, takeStack } from "./merge_draft.js";
import { choice } from "./merge_fields.js";
import { Picker } from "./merge_picker.js";
import { MergeRow } from "./merge_row.js";
import { models } from "./models.js";
import { shelf, titleOf } from "./shelf.js";
import { stack } from "./stack.js";
import { orderable } from "./stack_order.js";

const SINGLE = ["resize", "convert", "edit"];
const LISTS = ["merge", "bake", "checkpoint", "compare"];
const SOURCES = [["models", "two checkpoints: the tuned one less its base"], ["adapters", "adapters: what they make of the base together"]];

export class MergeInputs {
  constructor() {
    this.rows = new Map();
    const nameOf = (name) => (draft.task === "checkpoint" ? models.titleOf(name) : titleOf(name));
    const model = (label, field, title) => new Picker({ kind: "model", label, placeholder: "Search models…", title, keep: true, pick: (view) => draft.set({ [field]: view.id }) });
    this.fields = {
      model: model("Checkpoint", "model", "The model that the adapters are worked into; it stays, the result is another file."),
      tuned: model("Tuned checkpoint", "tuned", "The model that has what you want."),
      origin: model("Base checkpoint", "origin", "The model that it was made from."),
      single: new Picker({ kind: "adapter", label: "Adapter", placeholder: "Search adapters…", keep: true, pick: (view) => draft.set({ single: view.id }) }),
    };
    this.adder = new Picker({ kind: "adapter", label: "Add an adapter", placeholder: "Add an adapter: search names, trigger words…", taken: (id) => Boolean(draft.holds(id)), pick: (view) => draft.add({ name: view.id, weight: view.default_weight || 1 }) });
    this.modelAdder = new Picker({ kind: "model", label: "Add a checkpoint", placeholder: "Add a checkpoint: search models…", taken: (id) => Boolean(draft.holds(id)), pick: (view) => draft.add({ name: view.id, weight: draft.rows.length ? 0.5 : 1 }) });
    this.list = h("ol", { class: "easel-adapter-rows", "aria-label": "What goes in, in order" });
    this.told = h("p", { class: "easel-unseen", "aria-live": "polite" });
    this.empty = h("p", { class: "easel-hint" });
    this.gone = h("p", { class: "easel-merge-notice", role: "status" });
    this.fromStack = tool("plus", "Take the stack", () => takeStack(), { wide: true });
    this.fromStack.title = "All adapters of the stack that are on, with their weights and blocks";
    this.from = choice("Out of", SOURCES, (extractFrom) => draft.set({ extractFrom }));
    this.parts = Object.fromEntries(Object.entries(this.fields).map(([name, picker]) => [name, labelled(picker)]));
    this.element = h("section", { class: "easel-card easel-merge-part", "aria-label": "What goes in" }, h("header", {}, h("h3", { text: "What goes in" }), this.fromStack), this.from.element, ...Object.values(this.parts), this.adder.element, this.modelAdder.element, this.gone, this.empty, this.list, this.told);
    orderable(this.list, this.rows, (text) => (this.told.textContent = text), { order: draft, nameOf });
    for (const kind of ["task", "rows", "values"]) draft.addEventListener(kind, () => this.update());
    stack.addEventListener("rows", () => this.update());
    models.addEventListener("change", () => this.update());
    this.update();
  }

  update() {
    const { task } = draft;
    const stacked = task === "extract" && draft.extractFrom === "adapters";
    const lists = LISTS.includes(task) || stacked;
    const checkpoints = task === "checkpoint";
    this.parts.model.hidden = task !== "bake";
    this.from.element.hidden = this.parts.origin.hidden = task !== "extract";
    this.from.show(draft.extractFrom);
    this.parts.tuned.hidden = task !== "extract" || stacked;
    this.parts.single.hidden = !SINGLE.includes(task);
    this.adder.element.hidden = !lists || checkpoints;
    this.modelAdder.element.hidden = !checkpoints;
    this.list.hidden = !lists;
    this.list.dataset.task = task;
    this.fromStack.hidden = !lists || checkpoints || stack.active().length === 0;
    for (const name of ["model", "tuned", "origin"]) this.fields[name].show(draft[name], models.get(draft[name]));
    this.showSingle();
    this.empty.hidden = !lists || draft.rows.length > 0;
    this.empty.textContent = checkpoints ? "Choose two or more models of one family. “Add difference” takes three: first + weight × (second − third)." : task === "compare" ? "Nothing yet. Search above; up to twelve." : stack.active().length ? "Nothing yet. Search above, take the stack, or drop a recipe (.json) here." : "Nothing yet. Search above, or drop a recipe (.json) here.";
    this.drawRows(checkpoints);
    this.showGone();
  }

  // A draft may be older than the folders.
  showGone() {
    const names = draft.named();
    for (const name of names.adapters) if (!shelf.get(name) && !shelf.missing(name)) shelf.learn(name).then(() => shelf.missing(name) && this.showGone());
    const gone = [...names.adapters.filter((name) => shelf.missing(name)), ...(models.loaded ? names.models.filter((name) => !models.get(name)) : [])];
    this.gone.hidden = !gone.length;
    this.gone.textContent = gone.length ? `${gone.map((name) => `“${name}”`).join(", ")} ${gone.length === 1 ? "is" : "are"} not in the library any more: choose another.` : "";
  }

  showSingle() {
    const name = draft.single;
    this.fields.single.show(name, shelf.get(name));
    if (name && !shelf.get(name) && !shelf.missing(name)) shelf.learn(name).then(() => draft.single === name && this.fields.single.show(name, shelf.get(name)));
  }

  drawRows(checkpoints) {
    for (const [key, made] of this.rows) if (draft.find(key) !== made.row || made.adapter === checkpoints) this.rows.delete(key);
    const elements = draft.rows.map((row) => {
      if (!this.rows.has(row.key)) this.rows.set(row.key, new MergeRow(row, { adapter: !checkpoints }));
      return this.rows.get(row.key).element;
    });
    arrange(this.list, elements);
    for (const made of this.rows.values()) made.update();
  }
}

function labelled(picker) {
  return h("div", { class: "easel-merge-field" }, h("span", { class: "easel-merge-label", text: picker.field.getAttribute("aria-label") }), picker.element);
}
