// "Measure my machine": what each memory level really takes here, and how fast each attention kernel is.

import { h, tool } from "./dom.js";
import { memory } from "./memory_state.js";
import { LEVELS, duration, inWords, kernelName, timeWords } from "./memory_words.js";
import { ModelChoice } from "./model_choice.js";

export class Measured {
  constructor() {
    // The starter is quickly measured, and everybody has it.
    this.choice = new ModelChoice("Model to measure", { usual: "starter" });
    this.start = tool("gauge", "Measure my machine", () => this.ask(), { wide: true });
    this.start.title = "Paints a few short pictures under each level and keeps none of them; other jobs come in between two levels";
    this.cancel = h("button", { type: "button", class: "easel-mini", text: "Cancel", onclick: () => memory.measure({ cancel: true }, "The measurement ends.") });
    this.bar = h("progress", { max: 1, "aria-label": "Measured so far" });
    this.left = h("span", { class: "easel-quiet", role: "status" });
    this.going = h("div", { class: "easel-measure-going", hidden: true }, this.bar, this.left, this.cancel);
    this.of = h("p", { class: "easel-hint" });
    this.rows = h("tbody");
    const heads = ["Level", "20 steps", "Peak", "Saved", "Price"].map((text) => h("th", { scope: "col", text }));
    this.table = h("table", { class: "easel-measure-table", "aria-label": "Measured levels", hidden: true }, h("thead", {}, h("tr", {}, ...heads)), this.rows);
    this.kernels = h("ul", { class: "easel-measure-kernels", "aria-label": "Attention kernels, measured" });
    this.notes = h("p", { class: "easel-memory-warning", hidden: true });
    const line = h("div", { class: "easel-memory-ahead" }, this.choice.element, this.start);
    this.line = line;
    this.element = h("section", { class: "easel-card easel-memory-card", "aria-label": "Measured on this machine" }, h("header", {}, h("h3", { text: "Measured on this machine" })), this.table, this.kernels, this.of, this.notes, this.going, line);
  }

  update(view) {
    const found = view.measured;
    const going = Boolean(found.job_id);
    this.going.hidden = !going;
    this.line.hidden = going;
    this.start.disabled = this.choice.element.disabled = !view.engine_answers;
    this.bar.value = found.fraction;
    const left = found.seconds_left === null || found.seconds_left === undefined ? "" : `, about ${duration(Math.max(1, found.seconds_left))} left`;
    const words = going ? `${found.title}: ${Math.round(found.fraction * 100)} %${left}` : "";
    if (this.left.textContent !== words) this.left.textContent = words;
    this.table.hidden = found.levels.length === 0;
    const now = JSON.stringify([found.levels, found.attention]);
    if (now !== this.drawn) {
      this.drawn = now;
      this.rows.replaceChildren(...found.levels.map((level) => row(level, commonSize(found.levels))));
      this.kernels.replaceChildren(...found.attention.map(({ kernel, seconds }, place) => h("li", { title: place ? "" : "The fastest here" }, h("span", { text: kernelName(kernel) }), h("span", { text: duration(seconds) }))));
    }
    this.kernels.hidden = found.attention.length === 0;
    const size = commonSize(found.levels);
    this.of.textContent = found.levels.length
      ? `${found.title}${size ? `, ${size}` : ""}: a picture of 20 steps, and the most memory it took beside the rest of the program.${found.attention.length ? " Below the levels: one call of the largest attention." : ""}`
      : going
        ? ""
        : "Nothing is measured yet: the times of the levels are estimates.";
    const told = [found.error, ...found.notes].filter(Boolean).join(" ");
    this.notes.hidden = !told;
    this.notes.textContent = told;
  }

  async ask() {
    const { chosen } = this.choice;
    if (chosen) await memory.measure({ model: chosen.id }, `${chosen.title} is measured under every level.`);
  }
}

const sizeWords = ({ width, height }) => (width ? `${width} × ${height}` : "size unknown");

/** The size of all measures, "" where they differ or are not known. */
function commonSize(levels) {
  const sizes = new Set(levels.map(sizeWords));
  return sizes.size === 1 && levels[0].width ? sizeWords(levels[0]) : "";
}

function row(found, common) {
  const { level, seconds, step_seconds: step, peak, saved, price, beaten_by: beatenBy } = found;
  const alone = level === "none" || saved === null;
  const cells = [duration(seconds), inWords(peak), alone ? "" : saved > 0 ? inWords(saved) : "nothing", alone ? "" : timeWords(price)];
  const title = beatenBy ? `${LEVELS[beatenBy]} takes no more time nor memory here: Auto never chooses this level` : `${duration(step)} a step`;
  const size = common ? null : h("small", { class: "easel-quiet", text: ` ${sizeWords(found)}` });
  return h("tr", { title, "data-beaten": String(Boolean(beatenBy)) }, h("th", { scope: "row" }, LEVELS[level], size), ...cells.map((text) => h("td", { text })));
}
