// Which ControlNet a unit runs: narrowed to a type, those for the chosen model first, and a sentence where it does not fit.

import { controls, reads } from "./control_shelf.js";
import { pick } from "./control_fields.js";
import { h } from "./dom.js";
import { familyName } from "./family.js";
import { units } from "./control_units.js";

const EVERY = "*";
const NO_ADAPTER = "No IP-Adapter here fits the chosen model. Put its .safetensors file into models/controlnet and its image encoder into models/image_encoders; or make the unit a Reference, which needs no file.";

export class ControlChoice {
  constructor(row) {
    this.row = row;
    this.type = pick("Type", "What the hint shows: outlines, depth, a pose… It narrows the list of ControlNets.", (type) => this.narrow(type));
    this.model = pick("ControlNet", "The network that makes the picture follow the hint. It must be made for the same kind of model.", (id) => this.choose(id));
    this.shows = pick("The hint shows", "This ControlNet reads several types of hints: which one this is.", (hintType) => this.tell(hintType));
    this.said = h("p", { class: "easel-fault", role: "status", hidden: true });
    this.use = h("p", { class: "easel-unit-words", hidden: true });
    this.element = h("div", { class: "easel-unit-part" }, h("div", { class: "easel-unit-pair" }, this.type.element, this.model.element), this.shows.element, this.said, this.use);
  }

  narrow(type) {
    const { row } = this;
    const shown = type === EVERY ? null : type;
    const view = controls.get(row.model);
    if (shown !== null && view?.hint_types.includes(shown)) return this.tell(shown, { type: shown });
    if (shown !== null && view?.type !== shown) {
      const other = controls.fitting(shown)[0];
      if (other) return units.set(row.key, { ...controls.start(other, { ...row, type: shown }), type: shown });
    }
    units.set(row.key, { type: shown });
  }

  // A union ControlNet is told what the hint shows; the preprocessor makes such a hint, unless there is one already.
  tell(hintType, change = {}) {
    const { row } = this;
    const suits = controls.preprocessor(row.preprocessor)?.types.includes(hintType);
    const made = suits || row.preprocessor === "none" ? {} : { preprocessor: controls.usable({ type: hintType }, hintType), parameters: {} };
    units.set(row.key, { ...change, ...made, hint_type: hintType });
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
    const ours = controls.controlnets.filter((each) => each.kind === row.kind);
    const here = new Set(ours.flatMap((each) => [...(each.hint_types.length ? [] : [each.type]), ...each.hint_types]));
    this.element.hidden = row.kind === "reference";
    this.type.element.hidden = row.kind !== "controlnet";
    this.model.name(row.kind === "ip_adapter" ? "IP-Adapter" : "ControlNet");
    const types = controls.types.filter((each) => here.has(each.id) || each.id === type);
    this.type.show([[null, [[EVERY, "all types"], ...types.map((each) => [each.id, each.title, each.use]), ...(here.has("") ? [["", "Other"]] : [])]]], type);
    const listed = ours.filter((each) => row.type === null || reads(each, row.type) || each === view);
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
    const several = view?.hint_types ?? [];
    this.shows.element.hidden = !several.length;
    this.shows.show([[null, several.map((each) => [each, controls.type(each)?.title ?? each, controls.type(each)?.use])]], row.hint_type);
    const fault = this.fault(view);
    this.said.textContent = fault;
    this.said.hidden = !fault;
    const words = fault || !view ? "" : controls.typeOf(row)?.use ?? "";
    this.use.textContent = [words ? `${words}. ${range(view)}` : "", fault ? "" : view?.remark].filter(Boolean).join(" ");
    this.use.hidden = !this.use.textContent;
  }

  fault(view) {
    const { row } = this;
    if (controls.state === "failed") return controls.fault;
    if (controls.state !== "ready" || row.muted || row.kind === "reference") return "";
    if (view) return view.problem || (view.fits === false ? view.misfit : "");
    if (row.kind === "ip_adapter" && !row.model) return controls.fitting(null, "ip_adapter").length ? "Choose an IP-Adapter." : NO_ADAPTER;
    if (!controls.controlnets.length) return "There is no ControlNet file yet: put one into models/controlnet.";
    if (!row.model) return controls.fitting().length ? "Choose a ControlNet." : "No ControlNet here fits the chosen model.";
    return `The ControlNet “${row.model}” is not here: put its file into models/controlnet, or choose another.`;
  }
}

const range = ({ low, high }) => `Weights from ${low} to ${high} suit it.`;
