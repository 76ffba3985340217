// Adapters for few steps (LCM, Lightning, Turbo): switched on, they set sampler, steps and guidance; switched off, the
// values from before come back, unless the person has changed them meanwhile.

import { signal, specOfForm } from "./api.js";
import { live } from "./live.js";
import { say } from "./say.js";
import { shelf } from "./shelf.js";
import { stack } from "./stack.js";
import { settled } from "./timing.js";

const NAMES = ["sampler", "schedule", "steps", "guidance"];
const KEPT = "easel-before-quick";

const wanted = () => stack.active().filter((row) => row.unet_weight > 0).map((row) => shelf.get(row.name)).find((view) => view?.quick) ?? null;
const some = (values) => Object.fromEntries(NAMES.filter((name) => (values[name] ?? null) !== null).map((name) => [name, values[name]]));
const same = (values, others) => Object.entries(others).every(([name, value]) => values[name] === value);
const take = (values) => signal("remedy", { action: "take", values });
const words = ({ sampler, steps, guidance }) => `sampler ${sampler}, ${steps} steps, guidance ${guidance}`;

// The adapter whose values the form has, and those from before; a reload keeps them.
const state = {
  get: () => JSON.parse(sessionStorage.getItem(KEPT) ?? "null"),
  set: (value) => (value ? sessionStorage.setItem(KEPT, JSON.stringify(value)) : sessionStorage.removeItem(KEPT)),
};

async function follow() {
  const view = wanted();
  const had = state.get();
  if ((view?.id ?? null) === (had?.id ?? null)) return;
  const spec = await specOfForm({ quiet: true });
  if (!spec) return;
  const now = some(spec);
  const untouched = had && same(now, had.quick);
  const before = had && untouched ? had.before : now;
  if (!view) {
    state.set(null);
    if (!untouched || same(now, before)) return;
    await take(before);
    say(`Back to ${words(before)}, as it was without the adapter for few steps.`);
    return;
  }
  const quick = some(view.quick);
  state.set({ id: view.id, quick, before });
  if (same(now, quick)) return;
  await take(quick);
  say(`${view.title} makes a picture in few steps: ${words(quick)} are set.`, { action: "Undo", onAction: () => take(before), stay: 12000 });
}

const soon = settled(follow, 120);
stack.addEventListener("edited", soon);
// Another model brought its own values. What a picture or the last session brought is as it was meant: nothing is set.
let model = null;
live.addEventListener("form", ({ detail }) => {
  const another = model !== null && detail.model && detail.model !== model;
  model = detail.model ?? model;
  if (!wanted()) return state.set(null);
  if (!another) return;
  state.set(null);
  soon();
});
