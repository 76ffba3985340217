// From which part of the steps to which an adapter acts: one track with two handles, in percent.

import { h } from "./dom.js";

export class StepRange {
  constructor({ change }) {
    const handle = (label, which) => h("input", { type: "range", min: 0, max: 100, step: 1, "aria-label": label, oninput: () => this.moved(which) });
    this.from = handle("Acts from, in percent of the steps", "from");
    this.to = handle("Acts until, in percent of the steps", "to");
    this.words = h("output", { class: "easel-range-words" });
    this.change = change;
    this.element = h(
      "div",
      { class: "easel-range", title: "Early steps make the composition, late steps the details." },
      h("span", { class: "easel-weight-name", text: "Steps" }),
      h("span", { class: "easel-range-track" }, this.from, this.to),
      this.words,
    );
  }

  // The handles do not pass each other.
  moved(which) {
    let [from, to] = [Number(this.from.value), Number(this.to.value)];
    if (which === "from") from = Math.min(from, to - 1);
    else to = Math.max(to, from + 1);
    this.change({ start: from / 100, end: to / 100 });
  }

  show(start, end) {
    const [from, to] = [Math.round(start * 100), Math.round(end * 100)];
    this.from.value = from;
    this.to.value = to;
    // The handle that can still move lies on top.
    this.from.style.zIndex = from > 50 ? 2 : 1;
    this.element.style.setProperty("--from", `${from}%`);
    this.element.style.setProperty("--to", `${to}%`);
    this.words.textContent = from === 0 && to === 100 ? "all" : `${from}–${to} %`;
  }
}
