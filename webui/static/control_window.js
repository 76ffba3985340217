// When a unit works: its window over the steps with ready-made ones, and how its strength moves in there.

import { mini, pick } from "./control_fields.js";
import { h } from "./dom.js";
import { StepRange } from "./step_range.js";
import { units } from "./control_units.js";

const PRESETS = [
  ["full", 0, 1, "From the first step to the last"],
  ["early", 0, 0.5, "0–50 %: sets the composition, and leaves the details free"],
  ["late", 0.5, 1, "50–100 %: leaves the composition free, and guides the details"],
  ["end at 70", 0, 0.7, "0–70 %: follows the hint, and lets the last steps tidy up"],
];
const RAMPS = [
  ["constant", "the same all the time"],
  ["linear_in", "rising from nothing"],
  ["linear_out", "falling to nothing"],
  ["cosine", "falling gently, at first and at last"],
];

export class ControlWindow {
  constructor(row) {
    this.row = row;
    const set = (change) => units.set(row.key, change);
    this.range = new StepRange({ change: set });
    this.presets = PRESETS.map(([name, start, end, title]) => [mini(name, title, () => set({ start, end })), start, end]);
    this.ramp = pick("Strength", "How the strength moves from the start of its window to the end.", (ramp) => set({ ramp }));
    this.ramp.element.classList.add("easel-inline");
    this.element = h(
      "div",
      { class: "easel-unit-part" },
      this.range.element,
      h("div", { class: "easel-mini-buttons", role: "group", "aria-label": "Ready-made windows" }, ...this.presets.map(([button]) => button)),
      this.ramp.element,
    );
  }

  update() {
    const { start, end, ramp } = this.row;
    this.range.show(start, end);
    for (const [button, from, to] of this.presets) button.setAttribute("aria-pressed", String(from === start && to === end));
    this.ramp.show([[null, RAMPS]], ramp);
  }
}
