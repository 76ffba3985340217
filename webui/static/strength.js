// How strongly units work at each step: the same sums as engine/control/schedule.py.

const RAMPS = {
  constant: () => 1,
  linear_in: (share) => share,
  linear_out: (share) => 1 - share,
  cosine: (share) => (1 + Math.cos(Math.PI * share)) / 2,
};

// One number a step. By noise, the steps are taken as evenly spaced in it; schedules such as Karras differ.
export function strengths(unit, steps) {
  return Array.from({ length: steps }, (_, place) => unit.weight * factor(unit, place, steps));
}

function factor({ start, end, ramp, percent_rule }, place, steps) {
  const begun = place / steps >= start;
  const over = percent_rule === "step" ? (place + 1) / steps > end : end < 1 && place / steps > end;
  if (!begun || over) return 0;
  const reached = percent_rule === "step" ? (place + 0.5) / steps : place / steps;
  const share = end > start ? Math.min(1, Math.max(0, (reached - start) / (end - start))) : 0;
  return RAMPS[ramp](share);
}

export function together(units, steps) {
  const all = units.map((unit) => strengths(unit, steps));
  return Array.from({ length: steps }, (_, place) => all.reduce((sum, one) => sum + one[place], 0));
}
