// The merges that wait, run or are over.

import { api } from "./api.js";
import { Errands } from "./errands.js";
import { finished, live } from "./live.js";

const PAUSE = 1200;

class Runs extends Errands {
  constructor() {
    super("merge", {
      all: async () => (await api.listMerges({ quiet: true })).merges,
      one: (id) => api.getMerge(id, { quiet: true }),
      cancel: (id) => api.cancelMerge(id),
    });
    this.addEventListener("change", () => this.watch());
  }

  // The job's events are faster than asking, but may tell of a moment before what was answered.
  progress(known, { status, progress: { fraction, eta_seconds } }) {
    const least = status === "running" ? known.progress.fraction : 0;
    return { ...known.progress, fraction: Math.max(fraction, least), seconds_left: eta_seconds ?? known.progress.seconds_left };
  }

  // While one is open, ask now and then: stage and layer are told nowhere else.
  watch() {
    const open = this.list.filter((run) => !finished(run));
    if (this.timer || !open.length) return;
    this.timer = setTimeout(async () => {
      if (!document.hidden && live.connected) for (const run of open) await this.refresh(run.id);
      this.timer = null;
      this.watch();
    }, PAUSE);
  }
}

export const runs = new Runs();
