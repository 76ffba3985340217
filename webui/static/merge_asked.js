// What a comparison paints: prompts, weights, and whether side effects are looked for.

import { promptsOf, weightsOf } from "./compare_words.js";
import { h } from "./dom.js";
import { draft } from "./merge_draft.js";
import { text, turn } from "./merge_fields.js";
import { prompt } from "./prompt.js";

const MOST_PICTURES = 150;

export class MergeAsked {
  constructor() {
    this.prompts = text("Prompts, one a line", (prompts) => draft.set({ prompts }), { long: true, most: 8000, placeholder: "a castle on a hill" });
    this.prompts.input.rows = 3;
    this.weights = text("Weights", (compareWeights) => draft.set({ compareWeights }), { placeholder: "1", title: "With commas or spaces between them, such as 0.5, 0.8, 1" });
    this.effects = turn("Test side effects", (sideEffects) => draft.set({ sideEffects }), { title: "One more line for each adapter that has trigger words: without them. What changes there changes where nobody asked for it." });
    this.words = h("p", { class: "easel-hint" });
    this.element = h("section", { class: "easel-card easel-merge-part", "aria-label": "What is painted" }, h("header", {}, h("h3", { text: "What is painted" })), this.prompts.element, this.weights.element, this.effects.element, this.words);
    for (const kind of ["task", "rows", "values"]) draft.addEventListener(kind, () => this.update());
    this.update();
  }

  update() {
    const shown = draft.task === "compare";
    this.element.hidden = !shown;
    if (!shown) return;
    if (draft.prompts === null) draft.prompts = prompt.text();
    this.prompts.show(draft.prompts);
    this.weights.show(draft.compareWeights);
    this.effects.show(draft.sideEffects);
    const [adapters, weights, prompts] = [draft.adapters.length, weightsOf(draft.compareWeights).length, promptsOf(draft.prompts).length];
    const most = prompts * (1 + adapters * (weights + (draft.sideEffects ? 1 : 0)));
    this.words.textContent = `Model, seed, size and steps are those of Text to image; each adapter's first trigger words stand before the prompt. ${adapters && prompts ? `Up to ${most} pictures${most > MOST_PICTURES ? `, and ${MOST_PICTURES} is the most` : ""}.` : ""}`.trim();
  }
}
