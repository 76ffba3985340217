// One errand of a list: how far it is, and what came of it.

import { h, tool } from "./dom.js";
import { finished } from "./live.js";
import { inFull } from "./say.js";

export class ErrandCard {
  // `errands` it belongs to; its `title`, its `kind` in words, what its cancel button is called; `attributes` of the card.
  constructor(view, { errands, title, kind, cancel, attributes }) {
    this.words = h("span", { class: "easel-quiet easel-merge-run-words", role: "status" });
    this.bar = h("i");
    this.meter = h("span", { class: "easel-meter", "aria-hidden": "true" }, this.bar);
    this.cancel = tool("close", cancel, () => errands.cancel(this.view.id));
    this.body = h("div", { class: "easel-merge-run-body" });
    this.element = h("li", { class: "easel-merge-run", ...attributes }, h("div", { class: "easel-merge-run-head" }, h("strong", { text: title }), h("span", { class: "easel-pill", text: kind }), this.words, this.cancel), this.meter, this.body);
    this.update(view);
  }

  // --- what a card says itself ---

  // How far it is, or how it ended.
  told() {
    throw new Error("a card says how far its errand is");
  }

  // What it made, as an id; the body is drawn anew when it is another.
  get made() {
    return null;
  }

  // The elements of the body, for each way in which it may have ended.
  done() {
    return [];
  }

  failed() {
    const { error } = this.view;
    return [h("p", { class: "easel-merge-fault", text: error ? inFull(error) : "It failed." })];
  }

  canceled() {
    return [];
  }

  // --- what all of them do ---

  update(view) {
    this.view = view;
    const { status, progress } = view;
    this.element.dataset.status = status;
    this.meter.hidden = status !== "running";
    this.cancel.hidden = finished(view);
    this.bar.style.transform = `scaleX(${progress.fraction})`;
    const words = this.told();
    if (this.words.textContent !== words) this.words.textContent = words;
    const key = JSON.stringify([status, this.made, view.error]);
    if (key === this.key) return;
    this.key = key;
    this.body.replaceChildren(...(finished(view) ? this[status]() : []));
  }
}
