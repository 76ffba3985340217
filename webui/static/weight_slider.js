// A weight: a slider from −2 to 2 and a field that takes what lies beyond, up to ±10.

import { h } from "./dom.js";

const LIMIT = 10;

export class WeightSlider {
  // `change` is called with the new number while it moves; `rest` is where a double click takes it.
  constructor({ label, title, change, rest = () => 1 }) {
    this.slider = h("input", { type: "range", min: -2, max: 2, step: 0.05, "aria-label": label, title: `${title} Double click: its default.` });
    this.field = h("input", { type: "number", min: -LIMIT, max: LIMIT, step: 0.05, "aria-label": `${label}, as a number`, class: "easel-weight-number" });
    this.slider.addEventListener("input", () => change(Number(this.slider.value)));
    this.slider.addEventListener("dblclick", () => change(rest()));
    this.field.addEventListener("change", () => {
      const typed = Number(this.field.value);
      if (this.field.value !== "" && Number.isFinite(typed)) change(Math.max(-LIMIT, Math.min(LIMIT, typed)));
      this.show(this.value);
    });
    this.caption = h("span", { class: "easel-weight-name", text: label, title });
    this.element = h("div", { class: "easel-weight" }, this.caption, h("span", { class: "easel-weight-track" }, this.slider), this.field);
  }

  show(value) {
    this.value = value;
    this.slider.value = value;
    const shown = Math.max(-2, Math.min(2, value));
    this.element.style.setProperty("--from", `${(Math.min(0, shown) + 2) * 25}%`);
    this.element.style.setProperty("--to", `${(Math.max(0, shown) + 2) * 25}%`);
    if (document.activeElement !== this.field || Number(this.field.value) !== value) this.field.value = Number(value.toFixed(3));
  }

  name(label) {
    if (this.caption.textContent === label) return;
    this.caption.textContent = label;
    this.slider.setAttribute("aria-label", label);
    this.field.setAttribute("aria-label", `${label}, as a number`);
  }
}
