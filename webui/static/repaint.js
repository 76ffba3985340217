// Paint again while sliders move: the same seed, one picture at a time, the newest wish wins.

import { api, specOfForm } from "./api.js";
import { h } from "./dom.js";
import { finished, live } from "./live.js";
import { seedFor, stage } from "./stage.js";
import { stack } from "./stack.js";
import { settled } from "./timing.js";

const PAUSE = 350;

class Repaint extends EventTarget {
  constructor() {
    super();
    this.on = false;
    this.seed = null;
    this.job = null;
    this.turn = 0;
    this.later = settled(() => this.paint(), PAUSE);
    stack.addEventListener("edited", () => this.on && this.later());
  }

  async turnTo(on) {
    this.on = on;
    this.seed = null;
    if (on) await this.paint();
    else this.later.cancel();
    this.dispatchEvent(new Event("change"));
  }

  async paint() {
    const turn = ++this.turn;
    const spec = await specOfForm();
    if (turn !== this.turn || !this.on) return;
    if (!spec) return this.turnTo(false);
    this.seed ??= seedFor(spec);
    const before = live.jobs.get(this.job);
    // The one before is of no use any more; what it has finished stays.
    if (before && !finished(before)) api.cancelJob(this.job, { quiet: true }).catch(() => {});
    try {
      const job = await api.submitJob({ ...spec, adapters: stack.values(), conflicts: stack.resolution, seed: this.seed, count: 1 });
      if (turn !== this.turn) api.cancelJob(job.id, { quiet: true }).catch(() => {});
      this.job = job.id;
      live.learn(job);
      stage()?.follow();
    } catch {
      this.on = false;
    }
    this.dispatchEvent(new Event("change"));
  }
}

const repaint = new Repaint();

export class RepaintSwitch {
  constructor() {
    this.box = h("input", { type: "checkbox", role: "switch", class: "easel-switch", onchange: () => repaint.turnTo(this.box.checked) });
    this.words = h("span");
    this.element = h("label", { class: "easel-repaint", title: "Each change paints the picture again with the same seed, so that you see what it does." }, this.box, this.words);
    repaint.addEventListener("change", () => this.update());
    this.update();
  }

  update() {
    this.box.checked = repaint.on;
    this.words.textContent = repaint.on && repaint.seed !== null ? `Paint while I change things · seed ${repaint.seed}` : "Paint while I change things";
  }
}
