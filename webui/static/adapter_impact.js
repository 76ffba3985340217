// What an adapter does to the chosen model, measured from its weights: how strongly, where, and how much of its rank.

import { api } from "./api.js";
import { h } from "./dom.js";
import { match } from "./match.js";
import { bytes } from "./size.js";

const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)} %`;
const milliseconds = (seconds) => (seconds < 1 ? `${Math.max(1, Math.round(seconds * 1000))} ms` : `${seconds.toFixed(1)} s`);

export function impactPart(view) {
  const body = h("div", { class: "easel-impact" });
  const ask = h("button", { type: "button", class: "easel-tool easel-wide", text: "Measure its weights", title: "Compares its changes with the chosen model's own weights; nothing is painted" });
  ask.addEventListener("click", async () => {
    ask.disabled = true;
    body.replaceChildren(h("p", { class: "easel-hint", text: "Measuring…" }));
    try {
      const answer = await api.checkStack({ model: match.model, adapters: [{ name: view.id }], impact: true }, { quiet: true });
      const [impact] = answer.impacts;
      body.replaceChildren(...(impact ? measured(impact) : [h("p", { class: "easel-hint", text: answer.reports[0]?.summary || answer.advice[0] || "It cannot be measured." })]));
    } catch (error) {
      body.replaceChildren(h("p", { class: "easel-hint", text: error.message }));
    }
    ask.disabled = false;
  });
  return h("section", { class: "easel-drawer-part" }, h("h4", { text: "How strong is it?" }), h("div", { class: "easel-buttons" }, ask), body);
}

// Measured on many adapters: a style is at some percent of the weights' own length.
function words(strength) {
  if (strength === 0) return "it changes nothing";
  if (strength < 0.02) return "a slight hand";
  if (strength < 0.15) return "as usual";
  return strength < 0.5 ? "strong: try a lower weight where pictures break" : "very strong: hardly anything of the model is left";
}

function measured(impact) {
  const rows = [
    ["At weight 1", `changes the weights by ${percent(impact.strength, 1)} of their size: ${words(impact.strength)}`],
    ["Rank in use", impact.rank_in_use === null ? "" : `${impact.rank_in_use} of ${impact.rank}${impact.rank_in_use <= impact.rank / 2 ? " (a smaller file would do: Merge, Resize)" : ""}`],
    ["Reading, applying", `${milliseconds(impact.read_seconds)}, ${milliseconds(impact.apply_seconds)}`],
    ["In memory", bytes(impact.nbytes)],
    ["Looked at", impact.measured < impact.modules ? `${impact.measured} of ${impact.modules} modules, spread evenly` : ""],
  ].filter(([, value]) => value);
  const most = Math.max(...impact.blocks.map((block) => block.energy), 1e-9);
  return [
    h("dl", { class: "easel-settings-list" }, ...rows.flatMap(([name, value]) => [h("dt", { text: name }), h("dd", { text: value })])),
    h(
      "div",
      { class: "easel-impact-bars", role: "list", "aria-label": "Share of the change by block" },
      ...impact.blocks.map((block) => {
        const bar = h("i", {});
        bar.style.setProperty("--share", `${Math.round((100 * block.energy) / most)}%`);
        const told = `${block.block}: ${percent(block.energy)} of the change; ${percent(block.strength, 1)} of the block's own weights`;
        return h("span", { role: "listitem", title: told, "aria-label": told }, bar, h("small", { text: block.block }));
      }),
    ),
    h("p", { class: "easel-hint", text: "Bars: which blocks it changes most. BASE reads the prompt, IN and the first OUT blocks place things, the last OUT blocks colour and texture them." }),
  ];
}
