// What is loaded: the pool's parts, the largest first within each model, and a button that frees all of it.

import { h, tool } from "./dom.js";
import { MemoryAhead } from "./memory_ahead.js";
import { memory } from "./memory_state.js";
import { PartRow } from "./memory_part_row.js";
import { inWords, partName } from "./memory_words.js";

const SAID = { on_demand: "may leave when room is needed", warm: "is kept warm", pinned: "is pinned: it stays loaded" };

export class Parts {
  constructor() {
    this.rows = new Map();
    this.count = h("span", { class: "easel-quiet" });
    this.list = h("ul", { class: "easel-parts", "aria-label": "Loaded parts" });
    this.empty = h("div", { class: "easel-memory-empty", hidden: true });
    this.all = tool("eject", "Free everything now", () => this.releaseAll(), { wide: true });
    this.all.title = "Releases all that is neither in use nor pinned; it is loaded again when it is needed";
    this.ahead = new MemoryAhead();
    this.rates = h("p", { class: "easel-hint" });
    this.caches = h("dl", { class: "easel-memory-facts" });
    this.fold = h("details", { class: "easel-fold" }, h("summary", { text: "Caches" }), this.caches);
    this.element = h("section", { class: "easel-card easel-memory-card", "aria-label": "What is loaded" }, h("header", {}, h("h3", { text: "Loaded" }), this.count, this.all), this.empty, this.list, this.ahead.element, this.rates, this.fold);
  }

  update(view) {
    // Tokenizers and schedulers weigh nothing worth a row.
    const entries = view.entries.filter((entry) => entry.nbytes > 0).sort((a, b) => a.title.localeCompare(b.title) || b.nbytes - a.nbytes);
    const keys = new Set(entries.map(rowKey));
    for (const [key, row] of this.rows) {
      if (keys.has(key)) continue;
      row.element.remove();
      this.rows.delete(key);
    }
    const largest = Math.max(1, ...entries.map((entry) => entry.nbytes));
    entries.forEach((entry, index) => {
      const key = rowKey(entry);
      if (!this.rows.has(key)) this.rows.set(key, new PartRow(entry, { keep, release }));
      const row = this.rows.get(key);
      row.update(entry, largest, memory.now);
      // A row that stands where it belongs keeps its focus.
      if (this.list.children[index] !== row.element) this.list.insertBefore(row.element, this.list.children[index] ?? null);
    });
    const held = entries.reduce((sum, entry) => sum + entry.nbytes, 0);
    this.count.textContent = entries.length ? `${entries.length} ${entries.length === 1 ? "part" : "parts"}, ${inWords(held)}` : "";
    this.all.disabled = !entries.some((entry) => entry.leases === 0 && entry.tier !== "pinned");
    this.list.hidden = entries.length === 0;
    this.drawEmpty(view, entries);
    this.rates.textContent = rates(view);
    this.rates.hidden = !this.rates.textContent;
    this.ahead.update(view);
    this.drawCaches(view.caches ?? []);
  }

  drawCaches(caches) {
    this.fold.hidden = caches.length === 0;
    const rows = caches.map((cache) => [CACHES[cache.name] ?? [cache.name, ""], filling(cache)]);
    const key = JSON.stringify(rows);
    if (key === this.drawn) return;
    this.drawn = key;
    this.caches.replaceChildren(...rows.flatMap(([[name, title], words]) => [h("dt", { text: name, title }), h("dd", { text: words })]));
  }

  drawEmpty(view, entries) {
    this.empty.hidden = entries.length > 0;
    const text = view.engine_answers ? "Nothing is loaded. The next picture loads its model; this takes some seconds the first time." : "What is loaded shows here when the engine answers again.";
    if (this.empty.textContent !== text) this.empty.replaceChildren(h("p", { text }));
  }

  async releaseAll() {
    this.all.disabled = true;
    await memory.release(null, "Everything that is neither in use nor pinned was released.");
  }
}

// A part may be on the GPU and rest in RAM as well.
const rowKey = (entry) => `${entry.key}|${entry.place}`;

const keep = (entry, tier) => memory.keep(entry.key, tier, `${partName(entry.part)} of ${entry.title} ${SAID[tier]}.`);
const release = (entry) => memory.release(entry.key, `${partName(entry.part)} of ${entry.title} was released.`);

const CACHES = {
  prompts: ["Encoded prompts", "A prompt that was read already is not read again"],
  hints: ["Embedded hints", "What ControlNets see of a picture"],
};

function filling({ nbytes, limit, values, hits, misses }) {
  const asked = hits + misses;
  const rate = asked ? `, ${Math.round((100 * hits) / asked)} % of ${asked} questions were answered` : "";
  return `${values} kept, ${inWords(nbytes)} of ${inWords(limit)}${rate}`;
}

function rates({ hits, loads, evictions }) {
  const asked = hits + loads;
  if (!asked) return "";
  const left = evictions ? `, ${evictions} left again to make room or at your wish` : "";
  return `Since the engine started: ${Math.round((100 * hits) / asked)} % of what was needed was already loaded, ${loads} ${loads === 1 ? "part was" : "parts were"} read from disk${left}.`;
}
