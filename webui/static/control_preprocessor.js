// How a unit's hint is made of its picture: the preprocessor and its own numbers, each as a slider.

import { controls } from "./control_shelf.js";
import { pick } from "./control_fields.js";
import { h } from "./dom.js";
import { units } from "./control_units.js";
import { WeightSlider } from "./weight_slider.js";

export class PreprocessorChoice {
  constructor(row) {
    this.row = row;
    this.choice = pick("Preprocessor", "Turns your picture into a hint: finds its outlines, its depth, its lines. A finished hint needs none.", (id) => this.choose(id));
    this.said = h("p", { class: "easel-fault", role: "status", hidden: true });
    this.sliders = h("div", { class: "easel-unit-sliders" });
    this.element = h("div", { class: "easel-unit-part" }, this.choice.element, this.said, this.sliders);
    this.made = [];
  }

  // A union ControlNet is told what the new preprocessor makes.
  choose(id) {
    const { row } = this;
    const types = controls.preprocessor(id)?.types ?? [];
    const told = types.includes(row.hint_type) ? undefined : types.find((type) => controls.get(row.model)?.hint_types.includes(type));
    units.set(row.key, { preprocessor: id, parameters: {}, ...(told ? { hint_type: told } : {}) });
  }

  update() {
    const { row } = this;
    this.element.hidden = row.kind !== "controlnet";
    if (this.element.hidden) return;
    const type = row.hint_type || (row.type ?? controls.typeId(row));
    const option = (each) => [each.id, each.problem ? `${each.title} – ${lack(each)}` : each.title, each.problem];
    const plain = (each) => each.id === "none" || each.id === "invert";
    const usable = controls.preprocessors.filter((each) => !each.problem);
    const suits = (each) => !plain(each) && Boolean(type) && each.types.includes(type);
    this.choice.show(
      [
        [null, [...(controls.preprocessor(row.preprocessor) ? [] : [[row.preprocessor, row.preprocessor]]), ...usable.filter(plain).map(option)]],
        [`For ${controls.type(type)?.title ?? "this"}`, usable.filter(suits).map(option)],
        [type ? "Others" : "Preprocessors", usable.filter((each) => !plain(each) && !suits(each)).map(option)],
        ["Cannot be used yet", controls.preprocessors.filter((each) => each.problem).map(option)],
      ],
      row.preprocessor,
    );
    const chosen = controls.preprocessor(row.preprocessor);
    this.said.textContent = chosen?.problem ?? "";
    this.said.hidden = !chosen?.problem || row.muted;
    this.updateSliders(chosen?.parameters ?? []);
  }

  updateSliders(parameters) {
    const key = JSON.stringify([this.row.preprocessor, parameters]);
    if (this.key !== key) {
      this.key = key;
      this.made = parameters.map((each) => [each, this.slider(each)]);
      this.sliders.replaceChildren(...this.made.map(([, slider]) => slider.element));
    }
    for (const [each, slider] of this.made) slider.show(this.row.parameters[each.name] ?? each.default);
  }

  slider({ name, title, low, high, step, default: rest }) {
    const change = (value) => units.set(this.row.key, { parameters: { ...this.row.parameters, [name]: value } });
    return new WeightSlider({ label: title, title: `${title}: ${low} to ${high}, usually ${rest}.`, change, rest: () => rest, low, high, step, least: low, most: high });
  }
}

// What is missing, in a word or two; its `problem` says it whole.
const lack = ({ files }) => (files.length > 1 ? "needs files" : files.length ? "needs a file" : "not available");
