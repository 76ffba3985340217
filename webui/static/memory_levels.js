// The memory level: what each one does on this machine, what the form's picture would take under it, and what it costs.

import { h } from "./dom.js";
import { memory } from "./memory_state.js";
import { need } from "./memory_need.js";
import { LEVELS, inWords, timeWords } from "./memory_words.js";
import { settled } from "./timing.js";

const PAUSE = 350;

export class Levels {
  constructor() {
    this.rows = new Map();
    // The arrow keys pass other levels on their way: only where they rest is asked for.
    this.wish = null;
    this.later = settled((level) => this.ask(level), PAUSE);
    this.list = h("div", { class: "easel-levels", role: "radiogroup", "aria-label": "Memory level" });
    for (const level of Object.keys(LEVELS)) this.add(level);
    this.hint = h("p", { class: "easel-hint" });
    this.element = h("section", { class: "easel-card easel-memory-card", "aria-label": "Memory level" }, h("header", {}, h("h3", { text: "Memory level" })), this.list, this.hint);
  }

  add(level) {
    const box = h("input", { type: "radio", name: "easel-memory-level", value: level, onchange: () => this.choose(level) });
    const now = h("span", { class: "easel-pill", "data-state": "on", text: "now", title: "This level holds now", hidden: true });
    const peak = h("span", { class: "easel-level-peak" });
    const time = h("span", { class: "easel-level-time" });
    const meaning = h("span", { class: "easel-level-meaning" });
    const element = h("label", { class: "easel-level", hidden: level !== "auto" }, box, h("span", { class: "easel-level-head" }, h("strong", { text: LEVELS[level] }), now, h("span", { class: "easel-level-cost" }, peak, time)), meaning);
    this.rows.set(level, { element, box, now, peak, time, meaning });
    this.list.append(element);
  }

  update(view) {
    const ofForm = need.forecast?.levels.length ? need.forecast.levels : null;
    for (const told of ofForm ?? view.levels) this.fill(told);
    const known = new Set(view.levels.map(({ level }) => level));
    for (const [level, row] of this.rows) {
      row.element.hidden = level !== "auto" && !known.has(level);
      row.box.checked = (this.wish ?? view.level) === level;
      row.box.disabled = !view.engine_answers;
      row.now.hidden = level !== view.effective_level || known.size === 0;
    }
    this.rows.get("auto").meaning.textContent = "Before each picture: the fastest level that fits into what is free then.";
    this.hint.textContent = ofForm ? "Peaks are forecasts for the picture that Text to image describes now. A change holds from the next step on." : known.size ? "Peaks are forecasts for the default model at its own size. A change holds from the next step on." : "";
  }

  fill({ level, meaning, techniques, time_factor: factor, measured, peak, saved, fits, beaten_by: beatenBy }) {
    const row = this.rows.get(level);
    const saving = level === "none" || peak < 0 ? "" : saved > 0 ? ` Saves ${inWords(saved)}.` : " Saves nothing here.";
    const beaten = beatenBy ? ` ${LEVELS[beatenBy]} is better in both here: Auto never takes this one.` : "";
    row.meaning.textContent = `${meaning}${saving}${beaten}`;
    row.element.title = techniques.length ? `Does: ${techniques.join(", ")}.` : "";
    row.peak.textContent = peak < 0 ? "" : fits ? inWords(peak) : `${inWords(peak)}, too much`;
    row.peak.dataset.fits = String(fits);
    row.peak.title = peak < 0 ? "" : fits ? "Most memory at any moment, forecast" : "More than is free now";
    row.time.textContent = timeWords(factor);
    row.time.title = measured ? "Time against None, measured on this machine" : "Time against None: an estimate; this machine has not measured it yet";
    row.time.dataset.measured = String(measured);
  }

  choose(level) {
    this.wish = level;
    this.later(level);
  }

  async ask(level) {
    await memory.set({ level }, `The memory level is ${LEVELS[level].toLowerCase()} from the next step on.`);
    if (this.wish !== level) return;
    this.wish = null;
    if (memory.view) this.update(memory.view);
  }
}
