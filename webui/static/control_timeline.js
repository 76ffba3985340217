// The timeline: one band a unit over the steps, as high as it is strong, and below them the sum. Windows can be dragged.

import { controlTitle } from "./control_shelf.js";
import { units } from "./control_units.js";
import { formNumber } from "./form_numbers.js";
import { strengths, together } from "./strength.js";

const SPACE = "http://www.w3.org/2000/svg";
const LANE = 46;
const HEAD = 17;
const SUM = 60;
const STRONG = 1.5;
const NARROWEST = 0.01;

export class Timeline {
  constructor() {
    this.element = make("svg", { class: "easel-timeline", role: "img" });
    this.element.addEventListener("pointerdown", (event) => this.grab(event));
    this.width = 480;
    new ResizeObserver(([{ contentRect }]) => {
      if (Math.abs(contentRect.width - this.width) < 1 || contentRect.width < 1) return;
      this.width = contentRect.width;
      this.update();
    }).observe(this.element);
  }

  update() {
    const { rows } = units;
    const steps = formNumber("steps");
    const active = units.active();
    const sums = together(active, steps);
    const height = rows.length * LANE + SUM + HEAD + 18;
    const tallest = Math.max(1, ...rows.map((row) => row.weight));
    this.element.setAttribute("viewBox", `0 0 ${this.width} ${height}`);
    this.element.style.height = `${height}px`;
    this.element.setAttribute("aria-label", spoken(rows, steps));
    const lanes = rows.map((row, place) => this.lane(row, place, steps, tallest));
    this.element.replaceChildren(...lanes, this.sum(sums, rows.length * LANE, steps), this.axis(height - 16));
  }

  lane(row, place, steps, tallest) {
    const values = strengths(row, steps);
    const [top, bottom] = [place * LANE + HEAD, (place + 1) * LANE - 3];
    const running = values.filter((value) => value > 0).length;
    const words = `${place + 1} · ${controlTitle(row)}`;
    const facts = row.muted ? "muted" : running ? `${running} of ${steps} steps, up to ${Math.max(...values).toFixed(2)}` : "no step";
    const group = make("g", { class: row.muted ? "easel-lane easel-muted" : "easel-lane", "data-colour": row.colour, "data-key": row.key });
    group.append(
      tip(`${words}: ${facts}`),
      text(words, 1, place * LANE + HEAD - 5, "easel-lane-name"),
      text(facts, this.width - 1, place * LANE + HEAD - 5, "easel-lane-facts", "end"),
      make("rect", { class: "easel-lane-ground", x: 0, y: top, width: this.width, height: bottom - top, rx: 4 }),
      make("path", { class: "easel-lane-band", d: stairs(values, this.width, top, bottom, tallest) }),
    );
    if (!row.muted) group.append(this.handle(row, "start", top, bottom), this.handle(row, "end", top, bottom));
    return group;
  }

  handle(row, edge, top, bottom) {
    const x = Math.max(2, Math.min(this.width - 2, row[edge] * this.width));
    const group = make("g", { class: "easel-lane-handle", "data-edge": edge, "data-key": row.key });
    group.append(tip(edge === "start" ? "Drag: where it starts" : "Drag: where it ends"), make("rect", { class: "easel-lane-reach", x: x - 9, y: top, width: 18, height: bottom - top }), make("line", { x1: x, x2: x, y1: top, y2: bottom }));
    return group;
  }

  sum(values, from, steps) {
    const [top, bottom] = [from + HEAD, from + SUM];
    const tallest = Math.max(STRONG * 1.1, ...values);
    const level = bottom - (STRONG / tallest) * (bottom - top);
    const peak = Math.max(0, ...values);
    const group = make("g", { class: peak > STRONG ? "easel-lane easel-lane-sum easel-lane-strong" : "easel-lane easel-lane-sum" });
    group.append(
      tip(`All units together, at most ${peak.toFixed(2)} in ${steps} steps. Above ${STRONG} pictures often look burnt.`),
      text("Together", 1, from + HEAD - 5, "easel-lane-name"),
      text(`at most ${peak.toFixed(2)}`, this.width - 1, from + HEAD - 5, "easel-lane-facts", "end"),
      make("rect", { class: "easel-lane-ground", x: 0, y: top, width: this.width, height: bottom - top, rx: 4 }),
      make("path", { class: "easel-lane-band", d: stairs(values, this.width, top, bottom, tallest) }),
      make("line", { class: "easel-lane-limit", x1: 0, x2: this.width, y1: level, y2: level }),
    );
    return group;
  }

  axis(y) {
    const group = make("g", { class: "easel-lane-axis" });
    for (const share of [0, 0.25, 0.5, 0.75, 1]) {
      const anchor = share === 0 ? "start" : share === 1 ? "end" : "middle";
      group.append(text(`${share * 100} %`, share * this.width, y + 12, "easel-lane-facts", anchor));
    }
    return group;
  }

  grab(event) {
    const handle = event.target.closest?.(".easel-lane-handle");
    if (!handle || event.button !== 0) return;
    event.preventDefault();
    const { edge } = handle.dataset;
    const key = Number(handle.dataset.key);
    const move = ({ clientX }) => {
      const { left, width } = this.element.getBoundingClientRect();
      const share = Math.round(Math.max(0, Math.min(1, (clientX - left) / width)) * 100) / 100;
      const { start, end } = units.find(key) ?? {};
      if (edge === "start") units.set(key, { start: Math.min(share, end - NARROWEST) });
      else units.set(key, { end: Math.max(share, start + NARROWEST) });
    };
    const stop = () => {
      window.removeEventListener("pointermove", move);
      window.removeEventListener("pointerup", stop);
      window.removeEventListener("pointercancel", stop);
    };
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerup", stop);
    window.addEventListener("pointercancel", stop);
  }
}

// An area with one level stair a step.
function stairs(values, width, top, bottom, tallest) {
  const x = (place) => ((place / values.length) * width).toFixed(1);
  const y = (value) => (bottom - Math.min(1, value / tallest) * (bottom - top)).toFixed(1);
  return `M0 ${bottom}${values.map((value, place) => `L${x(place)} ${y(value)}L${x(place + 1)} ${y(value)}`).join("")}L${width} ${bottom}Z`;
}

function spoken(rows, steps) {
  const parts = rows.map((row, place) => {
    const window = `${Math.round(row.start * 100)} to ${Math.round(row.end * 100)} percent`;
    return `unit ${place + 1}, ${controlTitle(row)}: ${row.muted ? "muted" : `weight ${row.weight}, ${window}`}`;
  });
  return `Strengths over ${steps} steps. ${parts.join("; ")}`;
}

function make(tag, attributes = {}) {
  const element = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function text(words, x, y, kind, anchor = "start") {
  const element = make("text", { x, y, class: kind, "text-anchor": anchor });
  element.textContent = words;
  return element;
}

function tip(words) {
  const element = make("title");
  element.textContent = words;
  return element;
}
