// Adapters that fit the prompt as typed, each with its reason. Nothing is put in without a click.

import { api } from "./api.js";
import { h, icon } from "./dom.js";
import { live } from "./live.js";
import { match } from "./match.js";
import { prompt } from "./prompt.js";
import { say } from "./say.js";
import { stack } from "./stack.js";
import { settled } from "./timing.js";

export class Suggestions {
  constructor() {
    this.list = h("ul", { class: "easel-suggestions" });
    const forget = h("button", { type: "button", class: "easel-mini", text: "Clear what was learnt", title: "Suggestions also look at which adapters you used with which words. This forgets it.", onclick: () => this.forget() });
    this.element = h("section", { class: "easel-suggest", hidden: true, "aria-label": "Adapters that may fit the prompt" }, h("header", {}, h("h4", { text: "May fit your prompt" }), forget), this.list);
    this.found = [];
    this.asked = null;
    this.turn = 0;
    this.later = settled(() => this.ask(), 600);
    live.addEventListener("prompt", () => this.later());
    live.addEventListener("library", () => {
      this.asked = null;
      this.later();
    });
  }

  // Hidden panels ask for nothing.
  get seen() {
    return Boolean(this.element.parentElement?.offsetParent);
  }

  update() {
    if (this.seen && this.asked !== this.question()) this.later();
    this.draw();
  }

  question() {
    return JSON.stringify([prompt.text().trim(), match.model]);
  }

  async ask({ forget = false } = {}) {
    const question = this.question();
    if (!forget && (!this.seen || this.asked === question)) return;
    this.asked = question;
    const turn = ++this.turn;
    const text = prompt.text().trim();
    try {
      const answer = text || forget ? await api.suggestAdapters({ prompt: text, model: match.model, forget }, { quiet: !forget }) : { suggestions: [] };
      if (turn !== this.turn) return;
      this.found = answer.suggestions;
    } catch {
      this.found = [];
    }
    this.draw();
  }

  async forget() {
    await this.ask({ forget: true });
    say("What was learnt from your use is forgotten.");
  }

  draw() {
    const fresh = this.found.filter(({ adapter }) => !stack.holds(adapter.id));
    const key = fresh.map(({ adapter, reason }) => `${adapter.id}:${reason}`).join("|");
    if (key === this.key) return;
    this.key = key;
    this.element.hidden = fresh.length === 0;
    this.list.replaceChildren(...fresh.map((found) => this.offer(found)));
  }

  offer({ adapter, reason, weight }) {
    const add = h("button", { type: "button", class: "easel-suggestion", title: `Add it with weight ${weight}`, onclick: () => stack.add(adapter, { weight }) }, icon("plus"), h("strong", { text: adapter.title }), h("span", { text: reason }));
    return h("li", {}, add);
  }
}
