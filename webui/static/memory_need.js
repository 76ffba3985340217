// What the picture that the form describes would need, asked again when the form changes; nothing is told while it cannot
// be known.

import { api, specOfForm } from "./api.js";
import { live } from "./live.js";
import { memory } from "./memory_state.js";
import { stack } from "./stack.js";
import { settled } from "./timing.js";

const PAUSE = 450;
// Free memory changes by itself.
const STALE = 15000;
const FIELDS = "#easel-settings-area :is(input, textarea, select)";
// Of a spec, what memory depends on.
const COUNTS = ["model", "vae", "width", "height", "count", "batch_size", "guidance", "adapters", "controls", "upscale", "ext"];

class Need extends EventTarget {
  constructor() {
    super();
    this.forecast = null;
    this.spec = null;
    this.watchers = new Set();
    this.seen = "";
    this.asked = "";
    this.at = 0;
    this.turn = 0;
    this.later = settled(() => this.check(), PAUSE);
    for (const kind of ["input", "change", "click"]) document.addEventListener(kind, (event) => event.target.closest?.("#easel-settings-area") && this.later());
    stack.addEventListener("rows", this.later);
    live.addEventListener("form", this.later);
    const again = () => this.stale();
    live.addEventListener("finished", again);
    live.addEventListener("engine", again);
    live.addEventListener("library", again);
    memory.addEventListener("decided", again);
    // A field that the script filled, and a tab that was opened, raise no event here.
    setInterval(() => this.check(), 1000);
  }

  watch(element) {
    this.watchers.add(element);
  }

  leave(element) {
    this.watchers.delete(element);
  }

  stale() {
    this.asked = "";
    this.seen = "";
    this.later();
  }

  get watched() {
    // The line is empty before the first answer, and has no box then.
    return !document.hidden && [...this.watchers].some((element) => (element.closest(".tabitem") ?? element).checkVisibility());
  }

  async check() {
    if (!live.answers || !this.watched) return;
    const old = Date.now() - this.at > STALE;
    const seen = fingerprint();
    if (seen === this.seen && !old) return;
    this.seen = seen;
    this.at = Date.now();
    const turn = ++this.turn;
    const spec = await specOfForm({ quiet: true });
    if (turn !== this.turn) return;
    if (!spec) return this.tell(null, null);
    // The stack knows its rows before the form's own field does.
    const whole = { ...spec, adapters: stack.values(), conflicts: stack.resolution };
    const asked = JSON.stringify(COUNTS.map((name) => whole[name]));
    if (asked === this.asked && !old) return;
    this.asked = asked;
    try {
      const forecast = await api.forecastMemory({ spec: whole }, { quiet: true });
      if (turn === this.turn) this.tell(forecast, whole);
    } catch {
      if (turn === this.turn) this.tell(null, whole);
    }
  }

  tell(forecast, spec) {
    this.forecast = forecast;
    this.spec = spec;
    this.dispatchEvent(new Event("change"));
  }
}

function fingerprint() {
  const values = [...document.querySelectorAll(FIELDS)].map((field) => (["checkbox", "radio"].includes(field.type) ? field.checked : field.value));
  return JSON.stringify([values, stack.values()]);
}

export const need = new Need();
