// What the engine says of its memory, asked again every two seconds while somebody looks; and what a person decides.

import { api } from "./api.js";
import { live } from "./live.js";
import { say } from "./say.js";

const EVERY = 2000;
// Samples that the page has seen are kept: the engine tells only some of a long past.
const KEPT = 3600;
// What is known while the engine does not answer.
const MACHINE = ["ram_total", "ram_available", "web_rss", "engine_rss", "engine_answers"];

class MemoryState extends EventTarget {
  constructor() {
    super();
    this.view = null;
    this.error = null;
    this.samples = new Map();
    this.watchers = new Set();
    this.timer = null;
    this.turn = 0;
    document.addEventListener("visibilitychange", () => this.go());
    live.addEventListener("engine", () => this.go());
  }

  // Ask as long as `element` can be seen.
  watch(element) {
    this.watchers.add(element);
    this.observer ??= new IntersectionObserver(() => this.go());
    this.observer.observe(element);
  }

  leave(element) {
    this.watchers.delete(element);
    this.observer?.unobserve(element);
  }

  get watched() {
    return !document.hidden && [...this.watchers].some((element) => element.checkVisibility());
  }

  go() {
    clearTimeout(this.timer);
    if (this.watched) this.look();
  }

  async look() {
    clearTimeout(this.timer);
    const turn = ++this.turn;
    try {
      const view = await api.getMemory({ quiet: true });
      if (turn === this.turn) this.take(view);
    } catch (error) {
      if (turn !== this.turn) return;
      this.error = error;
      this.dispatchEvent(new Event("change"));
    }
    if (turn === this.turn && this.watched) this.timer = setTimeout(() => this.go(), EVERY);
  }

  take(view) {
    this.error = null;
    // The machine alone answered: what was chosen is still known, what is loaded is not.
    if (view.engine_answers === false && this.view) view = { ...this.view, ...pick(view, MACHINE), entries: [], timeline: [], engine_ram: 0, pool_used: 0, rest_used: 0 };
    // Answers to wishes do not tell of the two processes.
    this.view = { engine_answers: true, web_rss: this.view?.web_rss ?? 0, engine_rss: this.view?.engine_rss ?? 0, ...view };
    for (const sample of view.timeline) this.samples.set(sample.at, sample);
    if (this.samples.size > KEPT) {
      const old = [...this.samples.keys()].sort((a, b) => a - b).slice(0, this.samples.size - KEPT);
      for (const at of old) this.samples.delete(at);
    }
    this.dispatchEvent(new Event("change"));
  }

  // The engine's clock.
  get now() {
    return this.view?.timeline.at(-1)?.at ?? [...this.samples.keys()].at(-1) ?? Date.now() / 1000;
  }

  get timeline() {
    return [...this.samples.values()].sort((a, b) => a.at - b.at);
  }

  // Something was decided; a refusal is told by `api`, and the page shows again what is true.
  async decide(asked, said = "") {
    this.turn += 1;
    try {
      const view = await asked;
      this.take(view);
      if (said) say(view.waiting > 0 ? `${said} It happens as soon as the present step is done.` : said);
      this.dispatchEvent(new Event("decided"));
      return true;
    } catch {
      this.dispatchEvent(new Event("change"));
      return false;
    } finally {
      this.go();
    }
  }

  release(key = null, said = "") {
    return this.decide(api.releaseMemory(key ? { key } : {}), said);
  }

  keep(key, tier, said) {
    return this.decide(api.pinMemory({ key, pinned: tier !== "on_demand", warm: tier === "warm" }), said);
  }

  preload(model, said) {
    return this.decide(api.preloadModel(model), said);
  }

  measure(wish, said) {
    return this.decide(api.measureMemory(wish), said);
  }

  set(wish, said = "") {
    return this.decide(api.setMemoryLevel(wish), said);
  }
}

const pick = (view, names) => Object.fromEntries(names.map((name) => [name, view[name]]));

export const memory = new MemoryState();

// Where models compute: VRAM, or RAM on a machine without a usable GPU.
export const hasGpu = (view) => view.vram_total > 0;
