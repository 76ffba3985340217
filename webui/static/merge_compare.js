// The merge beside the stack: the same prompts and seed, painted as one job with the file and with what went into it.

import { api, specOfForm } from "./api.js";
import { ComparisonCard } from "./comparison_card.js";
import { comparisons } from "./comparisons.js";
import { promptsOf } from "./compare_words.js";
import { h } from "./dom.js";
import { prompt } from "./prompt.js";
import { inFull } from "./say.js";
import { shelf } from "./shelf.js";

export class MergeCompare {
  // `run` answers the merge as it is known now.
  constructor(run) {
    this.run = run;
    this.prompt = h("textarea", { rows: 2, "aria-label": "Prompts of the comparison", placeholder: "What to paint with both; one prompt a line" });
    this.each = h("input", { type: "checkbox", role: "switch", class: "easel-switch" });
    this.each.checked = true;
    this.start = h("button", { type: "submit", class: "easel-tool easel-wide easel-strong", text: "Paint them" });
    this.words = h("p", { class: "easel-hint", role: "status" });
    this.grid = h("ol", { class: "easel-merge-runs" });
    this.element = h(
      "form",
      { class: "easel-merge-compare", "aria-label": "The merge beside the stack", onsubmit: (event) => this.submit(event) },
      this.prompt,
      h("div", { class: "easel-merge-line" }, h("label", { class: "easel-merge-switch", title: "One more line for each input by itself" }, this.each, h("span", { text: "also each input alone" })), this.start),
      this.words,
      this.grid,
    );
    this.fillPrompt();
    this.update();
  }

  async fillPrompt() {
    const { recipe } = this.run();
    this.prompt.value = prompt.text();
    const views = await Promise.all(recipe.inputs.map((input) => shelf.learn(input.name)));
    if (this.prompt.value) return;
    this.prompt.value = views.flatMap((view) => view?.trigger_words.slice(0, 1) ?? []).join(", ");
  }

  async submit(event) {
    event.preventDefault();
    const prompts = promptsOf(this.prompt.value);
    if (!prompts.length) return this.prompt.focus();
    this.start.disabled = true;
    this.fault = "";
    try {
      const spec = await specOfForm();
      if (spec) comparisons.take(await api.compareMerge(this.run().id, { prompts, spec, alone: this.each.checked }, { quiet: true }));
    } catch (error) {
      this.fault = inFull(error);
    }
    this.start.disabled = false;
    this.update();
  }

  // The newest comparison of this merge. Its card says when something has changed.
  update() {
    const view = comparisons.list.find((one) => one.merge_id === this.run().id);
    const row = view?.report?.rows.find((one) => one.role === "merged");
    this.words.textContent = this.fault || verdict(row);
    if (!view) return;
    if (this.card?.view.id === view.id) return this.card.update(view);
    this.card = new ComparisonCard(view);
    this.grid.replaceChildren(this.card.element);
  }
}

function verdict(row) {
  if (!row) return "";
  if (row.decibels === null) return "Stacked and merged are the same, to the last pixel.";
  return `Stacked and merged are ${row.decibels.toFixed(1)} dB apart: ${row.decibels >= 40 ? "no eye sees it" : row.decibels >= 28 ? "hard to see" : "they differ"}.`;
}
