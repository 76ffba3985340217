// What the pool and the levels did, the newest first.

import { h } from "./dom.js";
import { memory } from "./memory_state.js";
import { ago, clock } from "./memory_words.js";

export class MemoryLog {
  constructor() {
    this.list = h("ol", { class: "easel-memory-log", tabindex: "0", "aria-label": "What happened, the newest first" });
    this.empty = h("p", { class: "easel-hint", text: "What is loaded, released or changed is written here." });
    this.element = h("section", { class: "easel-card easel-memory-card easel-memory-log-card", "aria-label": "What happened" }, h("header", {}, h("h3", { text: "What happened" })), this.empty, this.list);
    this.lines = new Map();
  }

  update(view) {
    const keys = new Set();
    let place = this.list.firstElementChild;
    for (const event of [...view.events].reverse()) {
      const key = `${event.at}|${event.message}`;
      if (keys.has(key)) continue;
      keys.add(key);
      if (!this.lines.has(key)) this.lines.set(key, line(event));
      const { element, time } = this.lines.get(key);
      time.textContent = ago(event.at, memory.now);
      if (element === place) place = place.nextElementSibling;
      else this.list.insertBefore(element, place);
    }
    for (const [key, { element }] of this.lines) {
      if (keys.has(key)) continue;
      element.remove();
      this.lines.delete(key);
    }
    this.list.hidden = keys.size === 0;
    this.empty.hidden = keys.size > 0;
  }
}

function line(event) {
  const time = h("time", { class: "easel-quiet", title: clock(event.at) });
  return { time, element: h("li", { "data-mark": event.kind }, h("span", { text: event.message }), time) };
}
