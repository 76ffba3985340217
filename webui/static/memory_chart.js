// Memory over time: the loaded parts by kind and what else Easel holds, stacked; the room for models as a line; what
// happened as marks. The pointer or the arrow keys read single moments.

import { h, onceAFrame } from "./dom.js";
import { hasGpu, memory } from "./memory_state.js";
import { clock, inWords } from "./memory_words.js";

const HEIGHT = 190;
const BELOW = 22;
const RANGES = { 300: "5 min", 1800: "30 min", 14400: "4 h" };
// From the floor up; a kind that is not here counts as the last.
const KINDS = {
  unet: "UNet",
  text_encoder: "Text encoders",
  vae: "VAE",
  controlnet: "ControlNets",
  adapter: "Adapters",
  preprocessor: "Preprocessors",
  upscaler: "Upscalers",
  other: "Other parts",
};
const MARKS = {
  loaded: "Something was loaded",
  returned: "Something came back from RAM",
  rested: "Something rests in RAM now",
  evicted: "Something was released",
  released: "Memory was released",
  level: "The memory level changed",
  refused: "A size was refused",
};
const draw = (tag, attributes) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};

export class MemoryChart {
  constructor() {
    this.range = 300;
    this.place = null;
    this.svg = draw("svg", { class: "easel-chart", tabindex: "0", role: "img", height: HEIGHT });
    this.read = h("p", { class: "easel-chart-read" });
    this.told = h("p", { class: "easel-unseen", "aria-live": "polite" });
    this.empty = h("p", { class: "easel-hint", text: "The chart begins with the first picture." });
    const choice = (seconds, words) => h("button", { type: "button", class: "easel-mini", "aria-pressed": "false", "data-range": seconds, text: words, onclick: () => this.show(Number(seconds)) });
    this.choices = h("div", { class: "easel-chart-ranges", role: "group", "aria-label": "How far back" }, ...Object.entries(RANGES).map(([seconds, words]) => choice(seconds, words)));
    const key = (kind, words, title) => h("li", { title }, h("i", { "data-kind": kind }), h("span", { text: words }));
    this.keys = new Map(Object.entries(KINDS).map(([kind, words]) => [kind, key(kind, words, "Loaded")]));
    this.legend = h("ul", { class: "easel-memory-legend" }, ...this.keys.values(), key("work", "Easel’s work", "The program itself, and what a picture takes while it is painted"), key("mark", "Something happened", "Loaded, released, or another level"));
    this.element = h("section", { class: "easel-card easel-memory-card", "aria-label": "Memory over time" }, h("header", {}, h("h3", { text: "Over time" }), this.choices), this.svg, this.empty, this.read, this.told, this.legend);
    this.redraw = onceAFrame(() => this.draw());
    new ResizeObserver(this.redraw).observe(this.element);
    this.svg.addEventListener("pointermove", (event) => this.point(event.clientX - this.svg.getBoundingClientRect().left));
    this.svg.addEventListener("pointerleave", () => this.leave());
    this.svg.addEventListener("blur", () => this.leave());
    this.svg.addEventListener("keydown", (event) => this.onKey(event));
    this.show(this.range);
  }

  show(range) {
    this.range = range;
    for (const button of this.choices.children) button.setAttribute("aria-pressed", String(Number(button.dataset.range) === range));
    this.place = null;
    this.redraw();
  }

  update(view) {
    this.view = view;
    this.redraw();
  }

  draw() {
    if (!this.view || !this.element.isConnected) return;
    const gpu = hasGpu(this.view);
    const end = memory.now;
    const all = memory.timeline.map((sample) => ({ at: sample.at, pool: sample.pool, parts: stacked(sample), whole: Math.max(sample.pool, gpu ? sample.vram : sample.ram), mark: sample.mark }));
    const first = all.findIndex((sample) => sample.at >= end - this.range);
    // The one before goes on to the edge.
    const points = all.slice(Math.max(0, first - 1));
    const enough = first >= 0 && points.length >= 2;
    this.svg.style.display = enough ? "" : "none";
    this.empty.hidden = enough;
    this.read.hidden = !enough;
    if (!enough) return;
    const width = Math.max(200, Math.floor(this.svg.getBoundingClientRect().width));
    // A short past fills the chart all the same.
    const start = Math.max(end - this.range, Math.min(points[0].at, end - 20));
    const top = ceiling(Math.max(...points.map((point) => point.whole)));
    this.x = (at) => ((at - start) / (end - start)) * width;
    this.y = (bytes) => HEIGHT - BELOW - (bytes / top) * (HEIGHT - BELOW - 10);
    this.points = points;
    this.width = width;
    const floor = this.y(0);
    const line = (value) => points.map((point) => `${this.x(point.at).toFixed(1)},${this.y(value(point)).toFixed(1)}`).join(" L");
    const closed = (value) => `M${this.x(points[0].at).toFixed(1)},${floor} L${line(value)} L${this.x(points.at(-1).at).toFixed(1)},${floor} Z`;
    // A part is there or not: it comes and goes at once, while the rest grows and shrinks.
    const steps = (value) => points.flatMap((point, index) => (index ? [`${this.x(point.at).toFixed(1)},${this.y(value(points[index - 1])).toFixed(1)}`] : []).concat(`${this.x(point.at).toFixed(1)},${this.y(value(point)).toFixed(1)}`)).join(" L");
    const band = (value) => `M${this.x(points[0].at).toFixed(1)},${floor} L${steps(value)} L${this.x(points.at(-1).at).toFixed(1)},${floor} Z`;
    const parts = [0, 0.5, 1].flatMap((share) => [
      draw("line", { class: "easel-chart-grid", x1: 0, x2: width, y1: this.y(top * share), y2: this.y(top * share) }),
    ]);
    parts.push(draw("path", { "data-kind": "work", d: closed((point) => point.whole) }));
    // The uppermost first: each lower one covers it down to the floor.
    for (const kind of Object.keys(KINDS).reverse()) {
      const there = points.some((point) => point.parts[kind].size > 0);
      this.keys.get(kind).hidden = !there;
      if (there) parts.push(draw("path", { class: "easel-chart-part", "data-kind": kind, d: band((point) => point.parts[kind].top) }));
    }
    parts.push(draw("path", { class: "easel-chart-line", d: `M${line((point) => point.whole)}` }));
    const limit = this.view.pool_limit;
    if (limit && limit <= top) {
      parts.push(draw("line", { class: "easel-chart-limit", x1: 0, x2: width, y1: this.y(limit), y2: this.y(limit) }));
      parts.push(label(width - 4, this.y(limit) - 4, `room for models ${inWords(limit)}`, "end"));
    }
    for (const point of points) {
      if (!point.mark || point.at < start) continue;
      const x = Math.max(4, Math.min(width - 4, this.x(point.at)));
      const mark = draw("path", { "data-kind": "mark", "data-mark": point.mark, d: `M${x.toFixed(1)},${floor} l-4,7 h8 z` });
      const title = draw("title", {});
      title.textContent = `${clock(point.at)}: ${this.happened(point)}`;
      mark.append(title);
      parts.push(mark);
    }
    for (const share of [0.5, 1]) parts.push(label(4, this.y(top * share) + 12, round(top * share), "start"));
    parts.push(label(0, HEIGHT - 2, back(end - start), "start"), label(width, HEIGHT - 2, "now", "end"));
    this.cross = draw("line", { class: "easel-chart-cross", x1: -9, x2: -9, y1: 6, y2: floor });
    parts.push(this.cross);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.svg.replaceChildren(...parts);
    this.svg.setAttribute("aria-label", `${gpu ? "VRAM" : "RAM"} of the engine over the last ${RANGES[this.range]}. ${this.words(points.at(-1))} The most was ${inWords(Math.max(...points.map((point) => point.whole)))}. Arrow keys read single moments.`);
    this.mark();
  }

  point(x) {
    if (!this.points) return;
    const distance = (index) => Math.abs(this.x(this.points[index].at) - x);
    let best = 0;
    // Of several moments at one place, one where something happened.
    this.points.forEach((point, index) => {
      const gain = distance(best) - distance(index);
      if (gain > 0 || (gain > -3 && point.mark && !this.points[best].mark)) best = index;
    });
    this.place = this.points[best].at;
    this.mark();
  }

  leave() {
    this.place = null;
    this.mark();
  }

  onKey(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (!step || !this.points) return;
    event.preventDefault();
    const last = this.points.length - 1;
    const here = this.place === null ? last : this.points.findIndex((point) => point.at >= this.place);
    this.place = this.points[Math.max(0, Math.min(last, (here < 0 ? last : here) + step))].at;
    this.mark();
    this.told.textContent = this.read.textContent;
  }

  mark() {
    if (!this.points) return;
    const point = this.points.find((each) => each.at === this.place) ?? null;
    this.read.textContent = this.words(point ?? this.points.at(-1), point !== null);
    const x = point ? this.x(point.at) : -9;
    for (const name of ["x1", "x2"]) this.cross.setAttribute(name, x);
  }

  words(point, past = false) {
    const happened = past && point.mark ? ` · ${this.happened(point)}` : "";
    const held = Object.entries(KINDS).filter(([kind]) => point.parts[kind].size > 0);
    const parts = held.map(([kind, words]) => `${words} ${inWords(point.parts[kind].size)}`).join(", ");
    return `${past ? clock(point.at) : "Now"}: ${inWords(point.whole)}${parts ? `, of it ${parts}` : ", nothing is loaded"}${happened}`;
  }

  // The log has the sentence; a mark only its kind.
  happened(point) {
    const event = this.view.events.find((each) => each.kind === point.mark && Math.abs(each.at - point.at) < 0.6);
    return event?.message ?? MARKS[point.mark] ?? point.mark.replaceAll("_", " ");
  }
}

// Kind → its bytes, and where its band ends above all that lies below it.
function stacked({ parts = {}, pool }) {
  const result = {};
  let top = 0;
  for (const kind of Object.keys(KINDS)) {
    const rest = pool - top;
    const size = Math.max(0, kind === "other" ? rest : (parts[kind] ?? 0));
    top += size;
    result[kind] = { size, top };
  }
  return result;
}

function label(x, y, text, anchor) {
  const words = draw("text", { x, y, "text-anchor": anchor });
  words.textContent = text;
  return words;
}

// Without the digits that a grid line does not need.
function round(bytes) {
  const [size, unit] = bytes >= 1024 ** 3 ? [bytes / 1024 ** 3, "GB"] : [bytes / 1024 ** 2, "MB"];
  return `${Number(size.toFixed(1))} ${unit}`;
}

// A round number above the highest point.
function ceiling(bytes) {
  const unit = bytes > 0.8 * 1024 ** 3 ? 1024 ** 3 : 1024 ** 2;
  const power = 10 ** Math.floor(Math.log10(Math.max(1, bytes / unit)));
  return [1, 2, 3, 4, 5, 6, 8, 10, 12].map((step) => step * power * unit).find((value) => value >= bytes * 1.08) ?? 20 * power * unit;
}

function back(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  return `${(seconds / 3600).toFixed(1).replace(".0", "")} h ago`;
}
