// What a unit is: a ControlNet that follows a hint, an IP-Adapter that reads a picture as a prompt, or a plain reference.

import { pick, share } from "./control_fields.js";
import { controls } from "./control_shelf.js";
import { units } from "./control_units.js";
import { h } from "./dom.js";

const KINDS = [
  ["controlnet", "ControlNet", "The picture follows a hint: outlines, depth, a pose"],
  ["ip_adapter", "IP-Adapter", "The picture is a prompt beside the words: its style and content. Needs a file and its image encoder"],
  ["reference", "Reference", "The model looks at the picture while it draws: colours, texture, likeness. Needs no file; each step takes twice as long"],
];
const WORDS = {
  ip_adapter: "The picture is read as a prompt beside your words: what is in it, and its style.",
  reference: "The model looks at this picture while it draws. It needs no file; each step takes about twice as long.",
};

export class UnitKind {
  constructor(row) {
    this.row = row;
    this.kind = pick("Kind", "What the unit does with its picture.", (kind) => this.turn(kind));
    this.words = h("p", { class: "easel-unit-words", hidden: true });
    this.fidelity = share("Fidelity", "How much of the reference guidance pulls in: 0 looks at it freely, 100 % keeps closest to it.", (fidelity) => units.set(row.key, { fidelity }));
    this.element = h("div", { class: "easel-unit-part" }, this.kind.element, this.words);
  }

  turn(kind) {
    const { row } = this;
    const view = kind === "reference" ? null : controls.fitting(null, kind)[0];
    const weight = view?.weight ?? controls.type(kind)?.weight ?? 1;
    // A drawing keeps the preprocessor that its pad chose.
    const hint = row.drawn ? {} : { preprocessor: "none", parameters: {} };
    const plain = { kind, model: "", ...hint, hint_type: "", mode: "balanced", weight, type: null };
    units.set(row.key, view ? { ...plain, ...controls.start(view, row) } : plain);
  }

  update() {
    const { row } = this;
    this.kind.show([[null, KINDS]], row.kind);
    this.words.textContent = WORDS[row.kind] ?? "";
    this.words.hidden = !WORDS[row.kind];
    this.fidelity.element.hidden = row.kind !== "reference";
    this.fidelity.show(row.fidelity);
  }
}
