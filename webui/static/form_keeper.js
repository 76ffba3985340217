// What stands in the form is kept a moment after it changed, by hand or not, so that a reload finds it.

import { signal } from "./api.js";
import { live } from "./live.js";
import { settled } from "./timing.js";

const WAIT = 350;
const kept = () => document.documentElement.dataset.easelForm === "attached";

let waiting = false;
// What stands in the form before anybody did anything is the studio's own: a model that is away for once, say.
let touched = false;
for (const kind of ["pointerdown", "keydown", "input", "drop", "paste"]) addEventListener(kind, () => (touched = true), { capture: true, passive: true });
const later = settled(keep, WAIT);

function keep() {
  if (!waiting || !kept()) return;
  waiting = false;
  later.cancel();
  signal("keep");
}

// Only the page that is looked at writes: one in the background has older values.
export function keepForm() {
  if (!touched || !kept() || document.hidden) return;
  waiting = true;
  later();
}

// The engine was away: once more when it is back.
export function formNotKept() {
  waiting = true;
}

live.addEventListener("engine", () => waiting && live.status.state === "ready" && later());
addEventListener("visibilitychange", () => document.hidden && keep());
