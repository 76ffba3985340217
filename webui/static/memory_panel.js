// <easel-memory>: the Memory tab. It asks while it can be seen, and draws what it is told.

import { h, onceAFrame } from "./dom.js";
import { MemoryBars } from "./memory_bars.js";
import { MemoryChart } from "./memory_chart.js";
import { FormForecast } from "./memory_forecast.js";
import "./memory_hint.js";
import { Levels } from "./memory_levels.js";
import { Measured } from "./memory_measured.js";
import { MemoryLog } from "./memory_log.js";
import { need } from "./memory_need.js";
import { Parts } from "./memory_parts.js";
import { Room } from "./memory_room.js";
import { memory } from "./memory_state.js";
import { inFull } from "./say.js";

class MemoryPanel extends HTMLElement {
  connectedCallback() {
    if (!this.bars) this.build();
    this.redraw ??= onceAFrame(() => this.draw());
    memory.addEventListener("change", this.redraw);
    need.addEventListener("change", this.redraw);
    memory.watch(this);
    need.watch(this);
    this.draw();
  }

  disconnectedCallback() {
    memory.removeEventListener("change", this.redraw);
    need.removeEventListener("change", this.redraw);
    memory.leave(this);
    need.leave(this);
  }

  build() {
    this.bars = new MemoryBars();
    this.chart = new MemoryChart();
    this.parts = new Parts();
    this.log = new MemoryLog();
    this.forecast = new FormForecast();
    this.levels = new Levels();
    this.measured = new Measured();
    this.room = new Room();
    this.fault = h("p", { class: "easel-memory-warning", role: "status", hidden: true });
    const now = h("section", { class: "easel-card easel-memory-card", "aria-label": "Memory now" }, h("header", {}, h("h3", { text: "Now" })), this.fault, this.bars.element);
    this.append(
      h(
        "div",
        { class: "easel-memory" },
        h("div", { class: "easel-memory-wide" }, now, this.chart.element, this.parts.element, this.measured.element, this.log.element),
        h("div", { class: "easel-memory-side" }, this.forecast.element, this.levels.element, this.room.element),
      ),
    );
  }

  draw() {
    const { view, error } = memory;
    this.fault.hidden = !error;
    this.fault.textContent = error ? `${inFull(error)} This is what was known last.` : "";
    this.forecast.update();
    if (!view) return;
    for (const part of [this.bars, this.chart, this.parts, this.log, this.levels, this.measured, this.room]) part.update(view);
  }
}

customElements.define("easel-memory", MemoryPanel);
