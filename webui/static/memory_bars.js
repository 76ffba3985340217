// Memory now: a bar for VRAM (where there is some) and one for RAM, cut into who holds what, and said in plain words.

import { h } from "./dom.js";
import { hasGpu } from "./memory_state.js";
import { inWords, kernelName } from "./memory_words.js";

const MEANINGS = {
  models: ["Models", "Loaded parts, as in the list below"],
  resting: ["Resting", "Parts that rest in RAM, to be back on the GPU in a moment"],
  work: ["Easel's work", "The program itself, and what a picture takes while it is painted"],
  others: ["Other programs", "The system and everything else that runs on this machine"],
  free: ["Free", "Not used by anybody"],
};

export class MemoryBars {
  constructor() {
    this.lead = h("p", { class: "easel-memory-lead" });
    this.vram = new Bar("VRAM", "Memory of the graphics card, as its driver says");
    this.ram = new Bar("RAM", "Memory of the machine");
    this.facts = h("dl", { class: "easel-memory-facts" });
    this.more = h("details", { class: "easel-fold" }, h("summary", { text: "What this machine can do" }), this.facts);
    this.leak = h("p", { class: "easel-memory-warning", hidden: true });
    this.element = h("div", { class: "easel-memory-now" }, this.lead, this.vram.element, this.ram.element, this.leak, this.more);
  }

  update(view) {
    const gpu = hasGpu(view);
    this.lead.textContent = lead(view, gpu);
    this.vram.element.hidden = !gpu;
    const engine = Math.max(view.engine_ram, view.pool_used * (gpu ? 0 : 1));
    if (gpu) {
      const own = Math.max(view.pool_used, view.timeline.at(-1)?.vram ?? 0);
      this.vram.update({ models: view.pool_used, work: own - view.pool_used, others: view.vram_total - view.vram_free - own, free: view.vram_free }, view.vram_total);
      this.ram.update({ resting: view.rest_used, ...ramParts(view, engine - view.rest_used, engine) }, view.ram_total);
    } else {
      this.ram.update({ models: view.pool_used, ...ramParts(view, engine - view.pool_used, engine) }, view.ram_total);
    }
    this.leak.hidden = !view.hint;
    this.leak.textContent = view.hint;
    this.drawFacts(view, gpu);
  }

  drawFacts(view, gpu) {
    const facts = [
      ["Device", view.device],
      ["Computes in", view.compute_dtypes.join(", ")],
      ["Can store as", view.storage_dtypes.join(", ")],
      ["Attention", view.attention.map(kernelName).join(", then ")],
      ["Fragmented", gpu ? `${Math.round(view.fragmentation * 100)} % of what is reserved` : ""],
      ["Studio process", view.web_rss ? inWords(view.web_rss) : ""],
      ["Engine process", view.engine_rss ? `${inWords(view.engine_rss)}, mapped model files included` : ""],
    ].filter(([, value]) => value);
    const key = JSON.stringify(facts);
    this.more.hidden = facts.length === 0;
    if (key === this.key) return;
    this.key = key;
    this.facts.replaceChildren(...facts.flatMap(([name, value]) => [h("dt", { text: name }), h("dd", { text: value })]));
  }
}

function ramParts(view, work, engine) {
  const own = work + view.web_rss;
  return { work: own, others: view.ram_total - view.ram_available - engine - view.web_rss, free: view.ram_available };
}

function lead(view, gpu) {
  if (!view.engine_answers) return "The engine does not answer now; it is started again by itself. This is the machine alone.";
  if (gpu) return `Models compute on ${view.device}. ${inWords(view.vram_free)} of its ${inWords(view.vram_total)} are free.`;
  return `Models compute on the processor: there is no graphics card here that Easel can use, so there is no VRAM either, and everything lives in RAM. ${inWords(view.ram_available)} of ${inWords(view.ram_total)} are free. Pictures take longer than on a graphics card; nothing else differs.`;
}

class Bar {
  constructor(name, title) {
    this.total = h("span", { class: "easel-quiet" });
    this.track = h("div", { class: "easel-memory-bar", role: "img" });
    this.legend = h("ul", { class: "easel-memory-legend" });
    this.name = name;
    this.parts = new Map();
    this.element = h("div", { class: "easel-memory-meter" }, h("div", { class: "easel-memory-meter-head" }, h("strong", { text: name, title }), this.total), this.track, this.legend);
  }

  update(parts, total) {
    this.total.textContent = inWords(total);
    const shown = Object.entries(parts).map(([kind, size]) => [kind, Math.max(0, size)]);
    for (const [kind, size] of shown) {
      if (!this.parts.has(kind)) this.add(kind);
      const { piece, words } = this.parts.get(kind);
      piece.style.flexGrow = String(size);
      piece.title = `${MEANINGS[kind][0]}: ${inWords(size)}`;
      words.textContent = inWords(size);
    }
    this.track.setAttribute("aria-label", `${this.name}, ${inWords(total)}: ${shown.map(([kind, size]) => `${MEANINGS[kind][0]} ${inWords(size)}`).join(", ")}`);
  }

  add(kind) {
    const [name, title] = MEANINGS[kind];
    const piece = h("i", { "data-kind": kind });
    const words = h("span");
    this.track.append(piece);
    this.legend.append(h("li", { title }, h("i", { "data-kind": kind }), h("span", { text: name }), words));
    this.parts.set(kind, { piece, words });
  }
}
