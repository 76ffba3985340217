// Errands: jobs that make something else than pictures to keep, such as merges. What is known of those of one kind, kept
// fresh by the WebSocket and by asking.

import { Asked } from "./asked.js";
import { finished, live } from "./live.js";

export class Errands extends Asked {
  // `kind` is that of their jobs. `all()`, `one(id)` and `cancel(id)` ask the studio, and answer views.
  constructor(kind, { all, one, cancel }) {
    super();
    Object.assign(this, { kind, ask: { all, one, cancel } });
    this.views = new Map();
    live.addEventListener("jobs", ({ detail }) => detail && this.heard(live.jobs.get(detail)));
  }

  // Newest first.
  get list() {
    return [...this.views.values()].sort((a, b) => b.created_at - a.created_at);
  }

  read() {
    return this.ask.all();
  }

  learn(views) {
    this.views = new Map(views.map((view) => [view.id, view]));
  }

  take(view) {
    this.views.set(view.id, view);
    this.tell();
  }

  // One of the queue's jobs has changed. What is over stays as it is.
  heard(job) {
    if (job?.kind !== this.kind) return;
    const known = this.views.get(job.id);
    if (known && finished(known)) return;
    if (!known || finished(job)) this.refresh(job.id);
    else this.take({ ...known, status: job.status, progress: this.progress(known, job) });
  }

  // How far it is, by what is known of it and by its job.
  progress(known, job) {
    return job.progress;
  }

  async refresh(id) {
    try {
      this.take(await this.ask.one(id));
    } catch {
      // Somebody else's, or gone: nothing to show.
      return;
    }
  }

  async cancel(id) {
    try {
      this.take(await this.ask.cancel(id));
    } catch {
      await this.refresh(id);
    }
  }
}
