// Which adapters pull at the same places: pairs against blocks, coloured by how alike their changes are.

import { h } from "./dom.js";
import { match } from "./match.js";
import { titleOf } from "./shelf.js";
import { stack } from "./stack.js";

const WAYS = [
  ["keep", "Keep both", "Nothing is changed: each adds its part."],
  ["normalize", "Share the weight", "Where several change the same module, their weights are scaled to a sum of 1."],
  ["priority", "First one wins", "Where several change the same module, only the first in the list has it."],
];

const SIGNS = [
  ["against", "they undo each other"],
  [null, "no conflict"],
  ["same", "both do the same: together it is twice as strong"],
];

export class ConflictMap {
  constructor() {
    this.content = h("div", { class: "easel-conflicts" });
    this.ways = h("div", { class: "easel-mini-buttons", role: "group", "aria-label": "What to do where adapters meet" }, h("span", { class: "easel-hint", text: "Where they meet:" }), ...WAYS.map(([way, text, title]) => h("button", { type: "button", class: "easel-mini", "data-way": way, text, title, onclick: () => stack.resolve(way) })));
    this.element = h("details", { class: "easel-fold", hidden: true }, h("summary", { text: "Do they get on?", title: "Compares what the adapters change, module by module." }), this.content, this.ways);
    this.element.addEventListener("toggle", () => {
      match.want(this.element.open);
      this.update();
    });
  }

  update() {
    this.element.hidden = stack.active().length < 2 && stack.resolution === "keep";
    for (const button of this.ways.querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.dataset.way === stack.resolution));
    if (!this.element.open || this.element.hidden) return;
    const key = JSON.stringify([match.conflicts, match.advice, match.state]);
    if (this.key === key) return;
    this.key = key;
    this.content.replaceChildren(...this.draw());
  }

  draw() {
    if (match.state === "failed") return [h("p", { class: "easel-hint", text: match.fault })];
    if (match.state === "asking" && !match.conflicts.length) return [h("p", { class: "easel-hint", text: "Comparing…" })];
    const advice = match.advice.length ? match.advice : ["Nothing here needs your attention."];
    const parts = [h("ul", { class: "easel-advice" }, ...advice.map((text) => h("li", { text })))];
    if (match.conflicts.length) parts.push(this.table(), legend());
    return parts;
  }

  table() {
    const blocks = [...new Set(match.conflicts.flatMap((pair) => pair.blocks.map(([name]) => name)))];
    const head = h("tr", {}, h("th", { scope: "col", text: "Pair" }), h("th", { scope: "col", text: "all" }), ...blocks.map((name) => h("th", { scope: "col", text: name })));
    return h("div", { class: "easel-scroll" }, h("table", { class: "easel-heat" }, h("thead", {}, head), h("tbody", {}, ...match.conflicts.map((pair) => row(pair, blocks)))));
  }
}

function row(pair, blocks) {
  const values = new Map(pair.blocks);
  const names = `${titleOf(pair.first)} and ${titleOf(pair.second)}`;
  return h(
    "tr",
    {},
    h("th", { scope: "row", title: `${names} share ${pair.shared_modules} modules${pair.compared < pair.shared_modules ? `; ${pair.compared} of them were compared` : ""}`, text: `${titleOf(pair.first)} × ${titleOf(pair.second)}` }),
    cell(pair.mean_cosine, `${names}, everywhere`),
    ...blocks.map((block) => cell(values.get(block), `${names}, ${block}`)),
  );
}

function cell(cosine, where) {
  if (cosine === undefined) return h("td", { class: "easel-none", title: `${where}: nothing shared`, text: "·" });
  const made = h("td", { title: `${where}: ${cosine.toFixed(2)}`, text: cosine.toFixed(1).replace("-0.0", "0.0") });
  made.dataset.sign = cosine < 0 ? "against" : "same";
  made.style.setProperty("--strength", `${Math.round(Math.min(1, Math.abs(cosine)) * 100)}%`);
  return made;
}

const legend = () =>
  h("p", { class: "easel-hint easel-legend" }, ...SIGNS.map(([sign, text]) => h("span", {}, h("i", { "data-sign": sign }), text)));
