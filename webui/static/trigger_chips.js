// Trigger words as chips: pressed while the word stands in the prompt; a click puts it in or takes it out.

import { h, shorten } from "./dom.js";
import { prompt } from "./prompt.js";

const SHOWN = 8;

export class TriggerChips {
  // `turned` is called when a person has put a word in or taken one out.
  constructor(turned) {
    this.turned = turned;
    this.element = h("div", { class: "easel-triggers", role: "group", "aria-label": "Trigger words" });
    this.words = null;
    this.all = false;
  }

  show(words) {
    if (this.words !== words) {
      this.words = words;
      this.build();
    }
    this.press();
  }

  build() {
    const shown = this.all ? this.words : this.words.slice(0, SHOWN);
    this.element.replaceChildren(...shown.map((word) => this.chip(word)));
    if (shown.length < this.words.length) {
      const rest = () => {
        this.all = true;
        this.build();
        this.press();
      };
      this.element.append(h("button", { type: "button", class: "easel-trigger", text: `+${this.words.length - shown.length}`, title: "Show all words", onclick: rest }));
    }
    this.element.hidden = this.words.length === 0;
  }

  chip(word) {
    const turn = () => {
      if (prompt.has(word)) prompt.remove(word);
      else prompt.add(word);
      this.press();
      this.turned();
    };
    return h("button", { type: "button", class: "easel-trigger", "data-word": word, text: shorten(word, 36), onclick: turn });
  }

  press() {
    for (const chip of this.element.querySelectorAll("[data-word]")) {
      const inside = prompt.has(chip.dataset.word);
      chip.setAttribute("aria-pressed", String(inside));
      chip.title = inside ? "In the prompt: click to take it out" : "Not in the prompt: click to put it in";
    }
  }
}
