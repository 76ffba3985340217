// One comparison: how far it is, its grid, and its numbers.

import { api } from "./api.js";
import { comparisons } from "./comparisons.js";
import { h, seconds, thumbUrl, tool, when } from "./dom.js";
import { percent } from "./merge_plots.js";
import { openViewer } from "./viewer.js";

const GRID_WIDTH = 1024;

export class ComparisonCard {
  constructor(view) {
    this.words = h("span", { class: "easel-quiet easel-merge-run-words", role: "status" });
    this.bar = h("i");
    this.meter = h("span", { class: "easel-meter", "aria-hidden": "true" }, this.bar);
    this.cancel = tool("close", "Cancel the comparison", () => this.stop());
    this.body = h("div", { class: "easel-merge-run-body" });
    this.element = h("li", { class: "easel-merge-run easel-comparison", "data-comparison": view.id }, h("div", { class: "easel-merge-run-head" }, h("strong", { text: title(view) }), h("span", { class: "easel-pill", text: "Comparison" }), this.words, this.cancel), this.meter, this.body);
    this.update(view);
  }

  update(view) {
    this.view = view;
    const { status, progress } = view;
    this.element.dataset.status = status;
    this.meter.hidden = status !== "running";
    this.cancel.hidden = !["queued", "running"].includes(status);
    this.bar.style.transform = `scaleX(${progress.fraction})`;
    const words = this.told();
    if (this.words.textContent !== words) this.words.textContent = words;
    const key = JSON.stringify([status, view.image?.id, view.error]);
    if (key === this.key) return;
    this.key = key;
    this.body.replaceChildren(...(status === "done" ? this.result() : status === "failed" ? [h("p", { class: "easel-merge-fault", text: `${view.error?.message ?? "It failed."} ${view.error?.hint ?? ""}`.trim() })] : []));
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

  result() {
    const { image, report } = this.view;
    const parts = [];
    if (image) parts.push(h("button", { type: "button", class: "easel-picture easel-comparison-grid", title: "Look at it large", "aria-label": "The grid, large", onclick: () => openViewer([image], image.id) }, h("img", { src: thumbUrl(image, GRID_WIDTH), alt: `Grid: ${this.view.plan.rows.map((row) => row.title).join(", ")}` })));
    if (!report) return parts;
    if (this.view.merge_id) parts.push(h("p", { class: "easel-hint easel-comparison-verdict", text: verdict(report.rows.find((row) => row.role === "merged")) }));
    if (report.side_effects.length) parts.push(sideEffects(report.side_effects));
    parts.push(distances(report.rows));
    return parts;
  }

  async stop() {
    try {
      comparisons.take(await api.cancelComparison(this.view.id));
    } catch {
      comparisons.refresh(this.view.id);
    }
  }
}

const title = (view) => (view.merge_id ? "The merge beside its inputs" : `${new Set(view.plan.rows.map((row) => row.adapter).filter(Boolean)).size} adapters`);
const apart = (row) => (row.decibels === null ? "the same" : `${row.decibels.toFixed(1)} dB`);

export function verdict(row) {
  if (!row) return "";
  if (row.decibels === null) return "Stacked and merged are the same, to the last pixel.";
  return `Stacked and merged are ${row.decibels.toFixed(1)} dB apart: ${row.decibels >= 40 ? "no eye sees it" : row.decibels >= 28 ? "hard to see" : "they differ"}.`;
}

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
