// Which ControlNet a unit runs: narrowed to a type, those for the chosen model first, and a sentence where it does not fit.

import { controls } from "./control_shelf.js";
import { pick } from "./control_fields.js";
import { h } from "./dom.js";
import { familyName } from "./family.js";
import { units } from "./control_units.js";

const EVERY = "*";

export class ControlChoice {
  constructor(row) {
    this.row = row;
    this.type = pick("Type", "What the hint shows: outlines, depth, a pose… It narrows the list of ControlNets.", (type) => this.narrow(type));
    this.model = pick("ControlNet", "The network that makes the picture follow the hint. It must be made for the same kind of model.", (id) => this.choose(id));
    this.said = h("p", { class: "easel-fault", role: "status", hidden: true });
    this.use = h("p", { class: "easel-unit-words", hidden: true });
    this.element = h("div", { class: "easel-unit-part" }, h("div", { class: "easel-unit-pair" }, this.type.element, this.model.element), this.said, this.use);
  }

  narrow(type) {
    const { row } = this;
    const shown = type === EVERY ? null : type;
    const view = controls.get(row.model);
    if (shown !== null && view?.type !== shown) {
      const other = controls.fitting(shown)[0];
      if (other) return units.set(row.key, { ...controls.start(other, row), type: shown });
    }
    units.set(row.key, { type: shown });
  }

  choose(id) {
    const view = controls.get(id);
    if (view) units.set(this.row.key, { ...controls.start(view, this.row), type: this.row.type });
    else units.set(this.row.key, { model: id });
  }

  update() {
    const { row } = this;
    const view = controls.get(row.model);
    const type = row.type ?? EVERY;
    const here = new Set(controls.controlnets.map((each) => each.type));
    const types = controls.types.filter((each) => here.has(each.id) || each.id === type);
    this.type.show([[null, [[EVERY, "all types"], ...types.map((each) => [each.id, each.title, each.use]), ...(here.has("") ? [["", "Other"]] : [])]]], type);
    const listed = controls.controlnets.filter((each) => row.type === null || each.type === row.type || each === view);
    const option = (each) => [each.id, each.title, each.problem || each.misfit || each.file];
    const gone = row.model && !view ? [[row.model, `${row.model} (not here)`]] : [];
    const others = (each) => !each.problem && each.fits === false;
    this.model.show(
      [
        [null, [...(row.model ? [] : [["", "Choose one…"]]), ...gone, ...listed.filter((each) => !each.problem && each.fits !== false).map(option)]],
        [controls.family ? `Not for ${familyName(controls.family)} models of this kind` : "For other models", listed.filter(others).map((each) => [each.id, each.family ? `${each.title} (${familyName(each.family)})` : each.title, each.misfit])],
        ["Cannot be used", listed.filter((each) => each.problem).map(option)],
      ],
      view?.id ?? row.model,
    );
    const fault = this.fault(view);
    this.said.textContent = fault;
    this.said.hidden = !fault;
    const words = fault || !view ? "" : controls.type(view.type)?.use ?? "";
    this.use.textContent = words ? `${words}. ${range(view)}` : "";
    this.use.hidden = !words;
  }

  fault(view) {
    const { row } = this;
    if (controls.state === "failed") return controls.fault;
    if (controls.state !== "ready" || row.muted) return "";
    if (view) return view.problem || (view.fits === false ? view.misfit : "");
    if (!controls.controlnets.length) return "There is no ControlNet file yet: put one into models/controlnet.";
    if (!row.model) return controls.fitting().length ? "Choose a ControlNet." : "No ControlNet here fits the chosen model.";
    return `The ControlNet “${row.model}” is not here: put its file into models/controlnet, or choose another.`;
  }
}

const range = ({ low, high }) => `Weights from ${low} to ${high} suit it.`;
