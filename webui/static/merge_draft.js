// The merge that is being put together: what the fields of the tab hold, and the recipe that they make.

import { promptsOf, weightsOf } from "./compare_words.js";
import { match } from "./match.js";
import { say } from "./say.js";
import { shelf } from "./shelf.js";
import { stack } from "./stack.js";

const METADATA = { title: "", author: "", description: "", license: "", usage_hint: "", trigger_words: "", tags: "", thumbnail: null };
const LISTS = ["trigger_words", "tags"];
const PLAIN = {
  task: "merge",
  method: "weighted_sum",
  // The method has to be told how far.
  reduces: false,
  options: { density: 0.5, majority: "total", seed: 0 },
  normalise: false,
  checkpointMethod: "weighted",
  checkpointNormalise: true,
  single: "",
  model: "",
  // "models": two checkpoints; "adapters": a stack on the base.
  extractFrom: "models",
  tuned: "",
  origin: "",
  base: "",
  kind: "auto",
  extractKind: "lora",
  factor: -1,
  smallest: 1e-6,
  // "none": ranks stay as they come out.
  rule: "none",
  rank: 32,
  convRank: "",
  energy: 0.99,
  ratio: 20,
  cumulative: 0.9,
  layout: "kohya",
  // "": as the file has it, for a conversion.
  dtype: "float16",
  textEncoders: true,
  name: "",
  // null: nobody has typed one yet.
  prompts: null,
  compareWeights: "1",
  sideEffects: true,
};
const finite = (value) => {
  if (value !== null && !Number.isFinite(value)) throw new TypeError("A weight is no number.");
  return value;
};
const SINGLE = ["resize", "convert", "edit"];
const LAYOUTS = ["kohya", "diffusers", "lycoris"];

class Draft extends EventTarget {
  constructor() {
    super();
    this.keys = 0;
    this.clear();
  }

  clear() {
    Object.assign(this, structuredClone(PLAIN));
    this.adapters = [];
    this.checkpoints = [];
    this.metadata = { ...METADATA };
    // The loss that a preview found of what is chosen now; null: not looked at.
    this.lost = null;
    // What was typed for a file to be made, while details of another are edited.
    this.aside = null;
  }

  // All that a person chose and typed, as plain values. What an edited file says of itself is read anew each time.
  kept() {
    const rows = (list) => list.map(({ key, ...row }) => row);
    const metadata = this.task === "edit" ? (this.aside ?? METADATA) : this.metadata;
    return { ...Object.fromEntries(Object.keys(PLAIN).map((name) => [name, this[name]])), adapters: rows(this.adapters), checkpoints: rows(this.checkpoints), metadata };
  }

  restore(kept) {
    const rows = (list) => list.map((row) => this.row({ ...row, weight: finite(row.weight) }));
    const [adapters, checkpoints] = [rows(kept.adapters), rows(kept.checkpoints)];
    this.clear();
    for (const name of Object.keys(PLAIN)) if (name in kept) this[name] = kept[name];
    const metadata = { ...METADATA, ...kept.metadata };
    Object.assign(this, { adapters, checkpoints }, this.task === "edit" ? { aside: metadata } : { metadata });
    this.tell("task");
  }

  // Which list of rows the task has, if any.
  get rows() {
    return this.task === "checkpoint" ? this.checkpoints : this.adapters;
  }

  choose(task) {
    if (task === this.task) return;
    if (task === "edit") this.aside = this.metadata;
    if (this.task === "edit" || task === "edit") this.metadata = { ...METADATA, ...(task === "edit" ? null : this.aside) };
    this.task = task;
    // Resizing without a rule would be a copy; a conversion keeps the precision unless one asks for another.
    if (["resize", "extract"].includes(task) && this.rule === "none") this.rule = "rank";
    if (task === "merge") this.rule = "none";
    if (task === "convert") this.dtype = "";
    else if (this.dtype === "") this.dtype = "float16";
    if (SINGLE.includes(task) && !this.single && this.adapters.length) this.single = this.adapters[0].name;
    this.tell("task");
  }

  set(change) {
    Object.assign(this, change);
    this.tell("values");
  }

  row(ref) {
    return { weight: 1, text_weight: null, text_weight_2: null, blocks: [], ...ref, key: ++this.keys };
  }

  find(key) {
    return this.rows.find((row) => row.key === key);
  }

  holds(name) {
    return this.rows.find((row) => row.name === name);
  }

  add(ref) {
    if (this.holds(ref.name)) return false;
    this.rows.push(this.row(ref));
    this.tell("rows");
    return true;
  }

  setRow(key, change) {
    const row = this.find(key);
    if (!row) return;
    Object.assign(row, change);
    this.tell("values");
  }

  move(key, place) {
    const { rows } = this;
    const from = rows.findIndex((row) => row.key === key);
    const to = Math.max(0, Math.min(rows.length - 1, place));
    if (from < 0 || from === to) return false;
    rows.splice(to, 0, ...rows.splice(from, 1));
    this.tell("rows");
    return true;
  }

  // Take a row out; answers what puts it back.
  remove(key) {
    const { rows } = this;
    const place = rows.findIndex((row) => row.key === key);
    if (place < 0) return () => {};
    const [row] = rows.splice(place, 1);
    this.tell("rows");
    return () => {
      rows.splice(Math.min(place, rows.length), 0, row);
      this.tell("rows");
    };
  }

  // Take over the stack; answers what brings back the rows before.
  fromStack(refs) {
    const before = this.adapters;
    this.adapters = refs.map((ref) => this.row({ name: ref.name, weight: ref.unet_weight, text_weight: ref.text_weight ?? null, blocks: ref.blocks ?? [] }));
    this.tell("rows");
    return () => {
      this.adapters = before;
      this.tell("rows");
    };
  }

  // Which files of the library the task asks for, by what they are.
  named() {
    const { task } = this;
    const fromAdapters = task === "extract" && this.extractFrom === "adapters";
    const adapters = SINGLE.includes(task) ? [this.single] : ["merge", "bake", "compare"].includes(task) || fromAdapters ? this.adapters.map((row) => row.name) : [];
    const asked = { bake: [this.model], checkpoint: this.checkpoints.map((row) => row.name), extract: [fromAdapters ? "" : this.tuned, this.origin], merge: [this.base], resize: [this.base], convert: [this.base] };
    return { adapters: adapters.filter(Boolean), models: (asked[task] ?? []).filter(Boolean) };
  }

  see(lost) {
    if (lost === this.lost) return;
    this.lost = lost;
    this.dispatchEvent(new Event("seen"));
  }

  // What is missing before this can be asked for; "" where nothing is.
  missing() {
    const { task } = this;
    if (task === "merge" && !this.adapters.length) return "Choose the adapters to merge.";
    if (task === "compare") return this.missingToCompare();
    if (task === "bake" && !this.model) return "Choose the checkpoint.";
    if (task === "bake" && !this.adapters.length) return "Choose the adapters to bake in.";
    if (task === "extract" && this.extractFrom === "adapters" && !this.adapters.length) return "Choose the adapters.";
    if (task === "extract" && this.extractFrom === "adapters" && !this.origin) return "Choose the base checkpoint.";
    if (task === "extract" && !(this.origin && (this.tuned || this.extractFrom === "adapters"))) return "Choose both checkpoints.";
    if (task === "checkpoint" && this.checkpoints.length < 2) return "Choose at least two checkpoints.";
    if (SINGLE.includes(task) && !this.single) return "Choose an adapter.";
    return "";
  }

  missingToCompare() {
    if (!this.adapters.length) return "Choose the adapters to compare.";
    if (!this.prompts?.trim()) return "Write at least one prompt.";
    if (!this.compareWeights.trim() || weightsOf(this.compareWeights).some((weight) => !Number.isFinite(weight))) return "Write the weights as numbers, such as 0.5, 1.";
    return "";
  }

  comparison() {
    return { adapters: this.adapters.map((row) => row.name), prompts: promptsOf(this.prompts), weights: weightsOf(this.compareWeights), side_effects: this.sideEffects };
  }

  reduction() {
    const rule = this.rule;
    if (rule === "none") return null;
    const conv = this.convRank === "" ? null : Number(this.convRank);
    if (rule === "rank") return { rule, rank: Number(this.rank), conv_rank: conv };
    return { rule, keep: Number(this[rule]) };
  }

  written() {
    const { title, author, description, license, usage_hint, thumbnail } = this.metadata;
    const told = Object.fromEntries(Object.entries({ title, author, description, license, usage_hint }).filter(([, value]) => value.trim()).map(([name, value]) => [name, value.trim()]));
    for (const name of LISTS) {
      const words = this.metadata[name].split(",").map((word) => word.trim()).filter(Boolean);
      if (words.length) told[name] = words;
    }
    if (thumbnail) told.thumbnail = thumbnail;
    return told;
  }

  inputs() {
    return this.rows.map(({ key, ...input }) => input);
  }

  recipe() {
    const { task, layout } = this;
    const metadata = this.written();
    const base = this.base || null;
    const text_encoders = this.textEncoders;
    const target = { kind: this.kind, reduction: this.reduction(), layout, dtype: this.dtype || "float16", text_encoders };
    const options = { ...this.options };
    if (task === "merge") return { task, schema: 1, inputs: this.inputs(), method: this.method, options, normalise: this.normalise, base, target, metadata };
    if (task === "resize") return { task: "merge", schema: 1, inputs: [{ name: this.single }], method: "weighted_sum", base, target, metadata };
    if (task === "bake") return { task, schema: 1, model: this.model, inputs: this.inputs(), metadata };
    if (task === "extract") return { task, schema: 1, ...(this.extractFrom === "adapters" ? { inputs: this.inputs() } : { tuned: this.tuned }), base: this.origin, kind: this.extractKind, reduction: this.reduction() ?? { rule: "rank", rank: 32 }, factor: this.factor, smallest: this.smallest, layout, dtype: target.dtype, text_encoders, metadata };
    if (task === "checkpoint") return { task, schema: 1, inputs: this.inputs(), method: this.checkpointMethod, normalise: this.checkpointNormalise, metadata };
    return { task: "convert", schema: 1, input: this.single, base, layout, dtype: this.dtype || null, text_encoders, metadata };
  }

  // Files that do not tell, or have other shapes than are usual, are taken to be for the model of Text to image.
  usualBase() {
    return match.model || null;
  }

  // Whether it may be taken: for a placeholder, so that nobody wonders.
  assumedBase() {
    const names = ["resize", "convert"].includes(this.task) ? [this.single] : this.adapters.map((row) => row.name);
    return names.some((name) => shelf.get(name)?.family === "") ? match.model : null;
  }

  // Take over a recipe; the engine checks it when it is previewed or run. Throws where it has no rows with weights.
  read(recipe) {
    const inputs = (recipe.inputs ?? []).map((input) => this.row({ name: String(input.name), weight: finite(input.weight ?? 1), text_weight: finite(input.text_weight ?? null), text_weight_2: finite(input.text_weight_2 ?? null), blocks: (input.blocks ?? []).map(finite) }));
    this.clear();
    const target = recipe.target ?? recipe;
    const one = recipe.task === "merge" && inputs.length === 1 && inputs[0].weight === 1 && (recipe.method ?? "weighted_sum") === "weighted_sum";
    this.task = one ? "resize" : recipe.task;
    this.base = recipe.task === "extract" ? "" : (recipe.base ?? "");
    this.layout = LAYOUTS.includes(target.layout) ? target.layout : "kohya";
    this.dtype = target.dtype ?? (recipe.task === "convert" ? "" : "float16");
    this.textEncoders = target.text_encoders ?? true;
    this.readReduction(recipe.task === "extract" ? recipe.reduction : target.reduction);
    if (recipe.task === "merge") Object.assign(this, { method: recipe.method ?? "weighted_sum", options: { ...PLAIN.options, ...recipe.options }, normalise: recipe.normalise ?? false, kind: target.kind ?? "auto" });
    if (recipe.task === "checkpoint") Object.assign(this, { checkpoints: inputs, checkpointMethod: recipe.method ?? "weighted", checkpointNormalise: recipe.normalise ?? true });
    else this.adapters = inputs;
    if (recipe.task === "bake") this.model = recipe.model ?? "";
    if (recipe.task === "extract") Object.assign(this, { extractFrom: inputs.length ? "adapters" : "models", tuned: recipe.tuned ?? "", origin: recipe.base ?? "", extractKind: recipe.kind ?? "lora", factor: recipe.factor ?? -1, smallest: recipe.smallest ?? 1e-6 });
    if (recipe.task === "convert") this.single = recipe.input ?? "";
    if (one) this.single = inputs[0].name;
    this.readMetadata(recipe.metadata ?? {});
    this.tell("task");
  }

  readReduction(rule) {
    if (!rule) return;
    this.rule = rule.rule ?? "rank";
    if (rule.rank) this.rank = rule.rank;
    this.convRank = rule.conv_rank ?? "";
    if (rule.keep && this.rule !== "rank") this[this.rule] = rule.keep;
  }

  readMetadata(told) {
    for (const name of Object.keys(METADATA)) this.metadata[name] = LISTS.includes(name) ? (told[name] ?? []).join(", ") : (told[name] ?? METADATA[name]);
  }

  // Each input's weight as it works in the result.
  weights() {
    const total = this.normalise ? this.adapters.reduce((sum, row) => sum + row.weight, 0) : 1;
    return this.adapters.map((row) => ({ ...row, weight: row.weight / (total || 1), text_weight: row.text_weight === null ? null : row.text_weight / (total || 1) }));
  }

  // Kinds: task (another task, or another recipe), rows (came, went, moved), values. "edited" follows each of them.
  tell(kind) {
    this.dispatchEvent(new Event(kind));
    this.dispatchEvent(new Event("edited"));
  }
}

export const draft = new Draft();

export function takeStack() {
  const had = draft.adapters.length;
  const undo = draft.fromStack(stack.active());
  if (had) say("The stack stands where the other rows were.", { action: "Undo", onAction: undo });
}
