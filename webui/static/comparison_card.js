// One comparison: how far it is, its grid, and its numbers.

import { comparisons } from "./comparisons.js";
import { h, seconds, thumbUrl, when } from "./dom.js";
import { ErrandCard } from "./errand_card.js";
import { percent } from "./merge_plots.js";
import { openViewer } from "./viewer.js";

const GRID_WIDTH = 1024;

export class ComparisonCard extends ErrandCard {
  constructor(view) {
    super(view, { errands: comparisons, title: title(view), kind: "Comparison", cancel: "Cancel the comparison", attributes: { class: "easel-merge-run easel-comparison", "data-comparison": view.id } });
  }

  get made() {
    return this.view.image?.id;
  }

  told() {
    const { status, progress, plan, finished_at } = this.view;
    const count = plan.rows.length * plan.prompts.length;
    if (status === "queued") return `${count} pictures, waits for its turn`;
    if (status === "running") return [`${Math.round(progress.fraction * count)} of ${count} pictures`, progress.eta_seconds ? `${seconds(progress.eta_seconds)} left` : ""].filter(Boolean).join(" · ");
    if (status === "canceled") return "cancelled; what was painted is in the history";
    if (status === "failed") return "failed";
    return [`${count} pictures, seed ${plan.spec.seed}`, finished_at ? when(finished_at) : ""].filter(Boolean).join(" · ");
  }

  done() {
    const { image, report } = this.view;
    const parts = [];
    if (image) parts.push(h("button", { type: "button", class: "easel-picture easel-comparison-grid", title: "Look at it large", "aria-label": "The grid, large", onclick: () => openViewer([image], image.id) }, h("img", { src: thumbUrl(image, GRID_WIDTH), alt: `Grid: ${this.view.plan.rows.map((row) => row.title).join(", ")}` })));
    if (!report) return parts;
    if (report.side_effects.length) parts.push(sideEffects(report.side_effects));
    parts.push(distances(report.rows));
    return parts;
  }
}

const title = (view) => (view.merge_id ? "The merge beside its inputs" : `${new Set(view.plan.rows.map((row) => row.adapter).filter(Boolean)).size} adapters`);
const apart = (row) => (row.decibels === null ? "the same" : `${row.decibels.toFixed(1)} dB`);

function table(label, heads, rows) {
  const head = h("tr", {}, ...heads.map(([text, title]) => h("th", { scope: "col", text, title: title ?? null })));
  return h("div", { class: "easel-scroll" }, h("table", { class: "easel-merge-table", "aria-label": label }, h("thead", {}, head), h("tbody", {}, ...rows)));
}

// How much an adapter changes where nobody asked for it.
function sideEffects(list) {
  const rows = list.map((one) => h("tr", {}, h("th", { scope: "row", text: one.title }), h("td", { text: one.trigger_words || "none" }), h("td", { text: percent(one.with_words) }), h("td", { text: one.without_words === null ? "–" : percent(one.without_words) }), h("td", { text: one.share === null ? "–" : percent(one.share) })));
  const heads = [["Adapter"], ["Trigger words"], ["With them", "How far the pictures are from those without the adapter"], ["Without them", "The same, with the words left out: what it does where nobody asked for it"], ["Side effect", "Without ÷ with: 0 % waits for its words, 100 % acts always"]];
  return h("div", { class: "easel-merge-plot-part" }, h("h4", { text: "Side effects" }), h("p", { class: "easel-hint", text: "How far the pictures move from those without the adapter, with its words in the prompt and without." }), table("Side effects", heads, rows));
}

function distances(list) {
  const rows = list.map((one) => h("tr", {}, h("th", { scope: "row", text: one.title }), h("td", { text: percent(one.change) }), h("td", { text: apart(one) })));
  return h("details", { class: "easel-fold" }, h("summary", { text: "Line by line" }), table("Distances", [["Line"], ["Change", "Root of the mean squared difference from the first line's pictures"], ["Distance"]], rows));
}
