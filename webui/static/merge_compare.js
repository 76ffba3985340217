// The merge beside the stack: the same prompts and seed, painted as one job with the file and with what went into it.

import { api, specOfForm } from "./api.js";
import { ComparisonCard, verdict } from "./comparison_card.js";
import { comparisons } from "./comparisons.js";
import { promptsOf } from "./compare_words.js";
import { h } from "./dom.js";
import { prompt } from "./prompt.js";
import { shelf } from "./shelf.js";

export class MergeCompare {
  // `run` answers the merge as it is known now.
  constructor(run) {
    this.run = run;
    this.id = "";
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
    comparisons.addEventListener("change", () => this.update());
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
      const view = spec && (await api.compareMerge(this.run().id, { prompts, spec, alone: this.each.checked }, { quiet: true }));
      if (view) this.follow(view);
    } catch (error) {
      this.fault = `${error.message} ${error.hint ?? ""}`.trim();
    }
    this.start.disabled = false;
    this.update();
  }

  follow(view) {
    this.id = view.id;
    comparisons.take(view);
  }

  // The newest comparison of this merge.
  update() {
    const view = comparisons.views.get(this.id) ?? comparisons.list.find((one) => one.merge_id === this.run().id);
    const row = view?.report?.rows.find((one) => one.role === "merged");
    this.words.textContent = this.fault || (row ? verdict(row) : "");
    if (!view) return;
    if (this.card?.view.id === view.id) return this.card.update(view);
    this.card = new ComparisonCard(view);
    this.grid.replaceChildren(this.card.element);
  }
}
