// What most units leave as it is: how the hint is fitted, who is more important, resolution, and how percents are counted.

import { pick, turn, whole } from "./control_fields.js";
import { h } from "./dom.js";
import { units } from "./control_units.js";

const RESIZE = [
  ["crop", "cut to fit", "Crop and resize: fills the picture, and cuts off what does not fit"],
  ["fill", "whole, with a border", "Resize and fill: the whole hint is seen, with its border's colour around it"],
  ["stretch", "stretch", "Just resize: distorts it to the picture's shape"],
];
const MODES = [
  ["balanced", "prompt and hint alike"],
  ["prompt", "the prompt is more important"],
  ["control", "the hint is more important"],
  ["guess", "guess: the hint without a prompt"],
];
const RULES = [
  ["step", "by steps (A1111, diffusers)"],
  ["sigma", "by noise (ComfyUI, Forge)"],
];
const USUAL = 512;

export class ControlDetails {
  constructor(row) {
    this.row = row;
    const set = (change) => units.set(row.key, change);
    this.resize = pick("Other shape", "What becomes of a hint that is not of the picture's shape.", (resize) => set({ resize }));
    this.mode = pick("Importance", "Which of the two wins where prompt and hint contradict each other.", (mode) => set({ mode }));
    this.rule = pick("Percents", "What 0 to 100 % is counted in. Programs differ; choose the one that a recipe comes from.", (percent_rule) => set({ percent_rule }));
    this.perfect = turn("Pixel perfect", "The preprocessor works at the size of the result, so that its lines are neither too coarse nor too fine.", (on) => set({ resolution: on ? null : USUAL }));
    this.resolution = whole("Preprocessor's resolution in pixels", "Shorter side of the picture that the preprocessor sees: 64 to 2048.", { min: 64, max: 2048, step: 64 }, (resolution) => set({ resolution }));
    this.pixels = h("span", { class: "easel-unit-pixels" }, this.resolution.element, h("span", { class: "easel-hint", text: "px" }));
    this.line = h("div", { class: "easel-unit-line" }, this.perfect.element, this.pixels);
    this.element = h("div", { class: "easel-row-more easel-unit-details", hidden: true }, this.resize.element, this.mode.element, this.rule.element, this.line);
  }

  // Whether a unit has set something in here that should be seen.
  get used() {
    const { resize, mode, percent_rule, resolution } = this.row;
    return resize !== "crop" || mode !== "balanced" || percent_rule !== "step" || resolution !== null;
  }

  update() {
    const { row } = this;
    this.resize.element.hidden = row.kind === "ip_adapter";
    this.mode.element.hidden = this.line.hidden = row.kind !== "controlnet";
    this.resize.show([[null, RESIZE]], row.resize);
    this.mode.show([[null, MODES]], row.mode);
    this.rule.show([[null, RULES]], row.percent_rule);
    this.perfect.show(row.resolution === null);
    this.pixels.hidden = row.resolution === null;
    if (row.resolution !== null) this.resolution.show(row.resolution);
  }
}
