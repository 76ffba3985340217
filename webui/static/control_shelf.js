// What units are made of: ControlNets, and whether they fit the chosen model; types; preprocessors.

import { api } from "./api.js";
import { live } from "./live.js";
import { settled } from "./timing.js";

class ControlShelf extends EventTarget {
  constructor() {
    super();
    this.controlnets = [];
    this.types = [];
    this.preprocessors = [];
    this.model = null;
    this.family = "";
    this.state = "unasked";
    this.fault = "";
    this.turn = 0;
    this.again = settled(() => this.load(), 120);
    live.addEventListener("form", ({ detail }) => this.chose(detail));
    // Before the form tells its model, nothing could be said of what fits.
    live.addEventListener("library", () => this.state !== "unasked" && this.again());
    live.addEventListener("engine", () => live.connected && this.state === "failed" && this.again());
  }

  chose({ model, family }) {
    if (this.state === "ready" && (!model || model === this.model)) return;
    this.model = model ?? this.model;
    this.family = family ?? this.family;
    this.again();
  }

  async load() {
    const turn = ++this.turn;
    try {
      const { controlnets, types, preprocessors } = await api.listControls({ model: this.model }, { quiet: true });
      if (turn !== this.turn) return;
      const started = types.map((type) => ({ ...type, weight: Math.round((type.low + type.high) * 50) / 100 }));
      Object.assign(this, { controlnets, types: started, preprocessors, state: "ready", fault: "" });
    } catch (error) {
      if (turn !== this.turn) return;
      Object.assign(this, { state: "failed", fault: error.message });
    }
    this.dispatchEvent(new Event("change"));
  }

  get(name) {
    return this.controlnets.find((view) => view.id === name) ?? this.controlnets.find((view) => name && [view.title, view.file].includes(name)) ?? null;
  }

  type(id) {
    return this.types.find((type) => type.id === id) ?? null;
  }

  preprocessor(id) {
    return this.preprocessors.find((each) => each.id === id) ?? null;
  }

  fitting(type = null, kind = "controlnet") {
    return this.controlnets.filter((view) => view.kind === kind && !view.problem && view.fits !== false && (type === null || reads(view, type)));
  }

  // The type of a unit's hint: what a union ControlNet is told, or the ControlNet's own; a kind that makes none is its type.
  typeId(row) {
    return row.kind === "controlnet" ? row.hint_type || (this.get(row.model)?.type ?? "") : row.kind;
  }

  typeOf(row) {
    return this.type(this.typeId(row));
  }

  // What a unit takes over when this ControlNet is chosen for it; a drawing is a hint already.
  start(view, row = null) {
    const change = { model: view.id, weight: view.weight, type: null, hint_type: told(view, row) };
    if (row?.drawn || view.kind !== "controlnet") return change;
    return { ...change, preprocessor: this.usable(view, change.hint_type), parameters: {} };
  }

  // The preprocessor that a ControlNet asks for, or another of its type whose files are here.
  usable(view, hintType = "") {
    const wanted = hintType ? null : this.preprocessor(view.preprocessor);
    if (wanted && !wanted.problem) return wanted.id;
    const type = hintType || view.type;
    const suits = this.preprocessors.filter((each) => !each.problem && each.types.includes(type));
    const other = suits.find((each) => each.types[0] === type) ?? suits[0];
    return other?.id ?? wanted?.id ?? "none";
  }
}

// Whether a ControlNet is for hints of that type; union ControlNets are for several.
export const reads = (view, type) => view.type === type || view.hint_types.includes(type);

// What a union ControlNet is told of a unit's hint at first: the type that the list is narrowed to, a scribble where it
// was drawn, else outlines.
function told({ hint_types: types }, row) {
  return [row?.type, row?.hint_type, row?.drawn ? "scribble" : "canny", ...types].find((type) => types.includes(type)) ?? "";
}

export const controls = new ControlShelf();
const NAMELESS = { controlnet: "No ControlNet chosen", ip_adapter: "No IP-Adapter chosen", reference: "Reference" };
export const controlTitle = (row) => controls.get(row.model)?.title || row.model || NAMELESS[row.kind];
