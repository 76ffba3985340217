// The merges that wait, run or are over: what is known of them, kept fresh by the WebSocket and by asking.

import { api } from "./api.js";
import { live } from "./live.js";

const PAUSE = 1200;
const OPEN = ["queued", "running"];
export const isOpen = (run) => OPEN.includes(run.status);

class Runs extends EventTarget {
  constructor() {
    super();
    this.views = new Map();
    this.fault = null;
    this.loaded = false;
    live.addEventListener("jobs", ({ detail }) => detail && this.heard(live.jobs.get(detail)));
    live.addEventListener("engine", () => ["warming", "ready"].includes(live.status.state) && !this.loaded && this.load());
  }

  get list() {
    return [...this.views.values()].sort((a, b) => b.created_at - a.created_at);
  }

  async load() {
    try {
      const { merges } = await api.listMerges({ quiet: true });
      this.views = new Map(merges.map((view) => [view.id, view]));
      this.fault = null;
      this.loaded = true;
    } catch (error) {
      this.fault = error;
    }
    this.tell();
    this.follow();
  }

  take(view) {
    this.views.set(view.id, view);
    this.tell();
    this.follow();
  }

  // A merge is a job of the queue as well; its events are faster than asking.
  heard(job) {
    if (job?.kind !== "merge") return;
    const known = this.views.get(job.id);
    if (!known) return this.refresh(job.id);
    if (!isOpen(known)) return;
    if (!OPEN.includes(job.status)) return this.refresh(job.id);
    const { fraction, eta_seconds } = job.progress;
    this.views.set(job.id, { ...known, status: job.status, progress: { ...known.progress, fraction: Math.max(fraction, job.status === "running" ? known.progress.fraction : 0), seconds_left: eta_seconds ?? known.progress.seconds_left } });
    this.tell();
  }

  async refresh(id) {
    try {
      this.take(await api.getMerge(id, { quiet: true }));
    } catch {
      this.follow();
    }
  }

  // While one is open, ask now and then: stage and layer are told nowhere else.
  follow() {
    clearTimeout(this.timer);
    const open = this.list.filter(isOpen);
    if (!open.length) return;
    this.timer = setTimeout(async () => {
      if (document.hidden || !live.connected) return this.follow();
      for (const run of open) await this.refresh(run.id);
      this.follow();
    }, PAUSE);
  }

  tell() {
    this.dispatchEvent(new Event("change"));
  }
}

export const runs = new Runs();
