// A weight: a slider, and a field beside it that also takes what lies beyond the slider, up to ±`limit`.

import { h } from "./dom.js";

export class WeightSlider {
  // `change` is called with the new number while it moves; `rest` is where a double click takes it.
  constructor({ label, title, change, rest = () => 1, low = -2, high = 2, step = 0.05, least = -10, most = 10 }) {
    this.low = low;
    this.high = high;
    this.slider = h("input", { type: "range", min: low, max: high, step, "aria-label": label, title: `${title} Double click: its default.` });
    this.field = h("input", { type: "number", min: least, max: most, step, "aria-label": `${label}, as a number`, class: "easel-weight-number" });
    this.slider.addEventListener("input", () => change(Number(this.slider.value)));
    this.slider.addEventListener("dblclick", () => change(rest()));
    // What is being typed stays, whatever news redraws the row meanwhile.
    this.typing = false;
    this.field.addEventListener("input", () => (this.typing = true));
    this.field.addEventListener("blur", () => (this.typing = false));
    this.field.addEventListener("change", () => {
      this.typing = false;
      const typed = Number(this.field.value);
      if (this.field.value !== "" && Number.isFinite(typed)) change(Math.max(least, Math.min(most, typed)));
      this.show(this.value);
    });
    this.caption = h("span", { class: "easel-weight-name", text: label, title });
    this.track = h("span", { class: "easel-weight-track", "data-zero": low < 0 ? "middle" : "left" }, this.slider);
    this.element = h("div", { class: "easel-weight" }, this.caption, this.track, this.field);
  }

  show(value) {
    this.value = value;
    this.slider.value = value;
    const shown = Math.max(this.low, Math.min(this.high, value));
    const share = (number) => `${((number - this.low) / (this.high - this.low)) * 100}%`;
    const rest = Math.max(this.low, 0);
    this.element.style.setProperty("--from", share(Math.min(rest, shown)));
    this.element.style.setProperty("--to", share(Math.max(rest, shown)));
    if (!this.typing && (document.activeElement !== this.field || Number(this.field.value) !== value)) this.field.value = Number(value.toFixed(3));
  }

  // The values that suit, as a mark under the track.
  advise(from, to) {
    const share = (number) => (number - this.low) / (this.high - this.low);
    this.track.classList.toggle("easel-advised", to > from);
    this.track.style.setProperty("--advised-from", share(from));
    this.track.style.setProperty("--advised-to", share(to));
  }

  name(label) {
    if (this.caption.textContent === label) return;
    this.caption.textContent = label;
    this.slider.setAttribute("aria-label", label);
    this.field.setAttribute("aria-label", `${label}, as a number`);
  }
}
