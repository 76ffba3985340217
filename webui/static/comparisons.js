// The comparisons that wait, run or are over: what is known of them, kept fresh by the WebSocket and by asking.

import { api } from "./api.js";
import { live } from "./live.js";

const OPEN = ["queued", "running"];

class Comparisons extends EventTarget {
  constructor() {
    super();
    this.views = new Map();
    this.loaded = false;
    live.addEventListener("jobs", ({ detail }) => detail && this.heard(live.jobs.get(detail)));
    live.addEventListener("engine", () => ["warming", "ready"].includes(live.status.state) && !this.loaded && this.load());
  }

  get list() {
    return [...this.views.values()].sort((a, b) => b.created_at - a.created_at);
  }

  async load() {
    try {
      const { comparisons } = await api.listComparisons({ quiet: true });
      this.views = new Map(comparisons.map((view) => [view.id, view]));
      this.loaded = true;
    } catch {
      // The engine is not there yet: its next event asks again.
      return;
    }
    this.tell();
  }

  take(view) {
    this.views.set(view.id, view);
    this.tell();
  }

  heard(job) {
    if (job?.kind !== "comparison") return;
    const known = this.views.get(job.id);
    if (!known || (OPEN.includes(known.status) && !OPEN.includes(job.status))) return this.refresh(job.id);
    if (!OPEN.includes(known.status)) return;
    this.take({ ...known, status: job.status, progress: job.progress });
  }

  async refresh(id) {
    try {
      this.take(await api.getComparison(id, { quiet: true }));
    } catch {
      // Somebody else's, or gone: nothing to show.
      return;
    }
  }

  tell() {
    this.dispatchEvent(new Event("change"));
  }
}

export const comparisons = new Comparisons();
