// Cancelling jobs: what is being worked out (a step, a decode) cannot be broken off at once, so the page says that the
// job is ending until it has ended.

import { api } from "./api.js";
import { finished, live } from "./live.js";

const asked = new Set();

export const isEnding = (job) => asked.has(job?.id) && !finished(job);

export function cancelJob(job) {
  if (!job || finished(job) || asked.has(job.id)) return;
  asked.add(job.id);
  live.tell("jobs");
  api.cancelJob(job.id).catch(() => {
    asked.delete(job.id);
    live.tell("jobs");
  });
}
