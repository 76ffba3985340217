// <easel-memory-hint>: one line under Generate: what the picture needs, or a warning and what would fit instead.

import { h, icon, onceAFrame } from "./dom.js";
import { LEVELS, inWords } from "./memory_words.js";
import { need } from "./memory_need.js";
import { showTab } from "./pictures.js";

const setValue = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set;

class MemoryHint extends HTMLElement {
  connectedCallback() {
    if (!this.line) this.build();
    this.redraw ??= onceAFrame(() => this.draw());
    need.addEventListener("change", this.redraw);
    need.watch(this);
    this.draw();
  }

  disconnectedCallback() {
    need.removeEventListener("change", this.redraw);
    need.leave(this);
  }

  build() {
    this.words = h("span");
    this.use = h("button", { type: "button", class: "easel-mini", onclick: () => this.takeSize() });
    const more = h("button", { type: "button", class: "easel-memory-link", text: "Memory", title: "What is loaded, how much room there is, and the memory level", onclick: () => showTab("memory") });
    this.line = h("p", { class: "easel-memory-hint", role: "status", hidden: true }, icon("memory"), this.words, this.use, more);
    this.append(this.line);
  }

  draw() {
    const { forecast, spec } = need;
    this.line.hidden = !forecast;
    if (!forecast) return;
    const { fits, largest_width: width, largest_height: height } = forecast;
    this.line.dataset.fits = String(fits);
    const text = sentence(forecast);
    // Said again only when it says something else.
    if (this.words.textContent !== text) this.words.textContent = text;
    this.words.title = fits ? "The most memory that it takes at any moment, models included. A forecast; it learns from each picture." : "";
    this.size = !fits && width > 0 && (width !== spec.width || height !== spec.height) ? [width, height] : null;
    this.use.hidden = !this.size;
    if (this.size) this.use.textContent = `Use ${width} × ${height}`;
  }

  takeSize() {
    for (const [id, value] of [["easel-width", this.size[0]], ["easel-height", this.size[1]]]) {
      const field = document.querySelector(`#${id} input`);
      if (!field) continue;
      setValue.call(field, String(value));
      // A number field of Gradio keeps what was typed when it loses the focus.
      for (const kind of ["input", "change"]) field.dispatchEvent(new Event(kind, { bubbles: true }));
      field.dispatchEvent(new FocusEvent("blur"));
    }
  }
}

export function sentence({ fits, peak, free, margin, level, advice }) {
  const usable = inWords(Math.max(0, free - margin));
  if (fits) return `Needs about ${inWords(peak)} at its peak; it fits${level === "none" ? "" : ` with the memory level ${LEVELS[level].toLowerCase()}`}.`;
  return `This does not fit: it needs about ${inWords(peak)} at its peak, and ${usable} can be used. ${advice.join(" ")}`.trim();
}

customElements.define("easel-memory-hint", MemoryHint);
