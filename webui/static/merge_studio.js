// <easel-merge>: the Merge tab. What to make, what goes in, how, what it becomes; a look before; the run; the history.

import { api, specOfForm } from "./api.js";
import { ComparisonCard } from "./comparison_card.js";
import { comparisons } from "./comparisons.js";
import { arrange, h, onceAFrame, tool } from "./dom.js";
import { MergeAsked } from "./merge_asked.js";
import { MergeDetails } from "./merge_details.js";
import { draft } from "./merge_draft.js";
import { MergeInputs } from "./merge_inputs.js";
import { restoreDraft } from "./merge_kept.js";
import { MergeMethodPart } from "./merge_method.js";
import { MergePreview } from "./merge_preview.js";
import { recipeButtons, takeDrops } from "./merge_recipe.js";
import { MergeRunCard } from "./merge_run_card.js";
import { runs } from "./merge_runs.js";
import { MergeTarget } from "./merge_target.js";
import { TaskCards, taskOf } from "./merge_tasks.js";
import { inFull, say } from "./say.js";
import { shelf } from "./shelf.js";

const NAME_TAKEN = ["merge_name_taken", "in_use"];

// Before anything can change it: the stack is taken over from another tab.
restoreDraft();

class MergeStudio extends HTMLElement {
  connectedCallback() {
    if (!this.list) this.build();
    this.redraw ??= onceAFrame(() => this.drawRuns());
    runs.addEventListener("change", this.redraw);
    comparisons.addEventListener("change", this.redraw);
  }

  disconnectedCallback() {
    runs.removeEventListener("change", this.redraw);
    comparisons.removeEventListener("change", this.redraw);
  }

  build() {
    this.cards = new Map();
    this.inputs = new MergeInputs();
    this.method = new MergeMethodPart();
    this.asked = new MergeAsked();
    this.target = new MergeTarget();
    this.details = new MergeDetails();
    this.preview = new MergePreview({ askForBase: () => this.target.askForBase() });
    this.go = h("button", { type: "submit", class: "easel-tool easel-wide easel-strong easel-merge-go" });
    this.missing = h("p", { class: "easel-hint" });
    this.fault = h("div", { class: "easel-merge-fault", role: "alert", hidden: true });
    this.list = h("ol", { class: "easel-merge-runs", "aria-label": "Merges and comparisons, newest first" });
    this.none = h("p", { class: "easel-hint" });
    const desk = h(
      "form",
      { class: "easel-merge-desk", novalidate: true, onsubmit: (event) => this.submit(event) },
      h("div", { class: "easel-merge-column" }, this.inputs.element, this.asked.element, this.method.element, this.target.element, this.details.element),
      h("div", { class: "easel-merge-column easel-merge-side" }, this.preview.element, h("section", { class: "easel-card easel-merge-part easel-merge-run-it", "aria-label": "Run it" }, this.go, this.missing, this.fault)),
    );
    this.append(
      h("div", { class: "easel-toolbar" }, h("p", { class: "easel-lead easel-count", text: "New files out of adapters and checkpoints. What a file loses is a number that you see before it is written." }), ...recipeButtons(tool)),
      new TaskCards().element,
      desk,
      h("section", { class: "easel-card easel-merge-part easel-merge-history", "aria-label": "Merges" }, h("header", {}, h("h3", { text: "Merges" })), this.none, this.list),
    );
    // Enter in a field is no wish to run it.
    desk.addEventListener("keydown", (event) => event.key === "Enter" && event.target.matches("input:not([type=checkbox], [type=radio])") && event.preventDefault());
    takeDrops(this);
    draft.addEventListener("edited", () => this.drawGo());
    draft.tell("task");
    this.drawRuns();
  }

  drawGo() {
    const missing = draft.missing();
    this.go.textContent = taskOf(draft.task).act;
    this.go.disabled = Boolean(missing) || this.busy === true;
    this.missing.textContent = missing || (draft.task === "edit" ? "Only what the file says of itself is written; its data stays, and its AutoV3 hash proves it." : "It runs in the queue, between the pictures; the page may be closed.");
    this.fault.hidden = true;
  }

  name() {
    return draft.name.trim() || (draft.task === "merge" ? this.details.name.input.placeholder : "");
  }

  submit(event) {
    event.preventDefault();
    if (draft.missing() || this.busy) return;
    if (draft.task === "edit") return this.save();
    if (draft.task === "compare") return this.compare();
    if (this.name()) return this.run();
    this.failed({ message: "Give the file a name." });
    this.details.name.input.focus();
  }

  async run(replace = false) {
    await this.held(async () => {
      const view = await api.submitMerge({ recipe: draft.recipe(), file_name: this.name(), replace, usual_base: draft.usualBase() }, { quiet: true });
      this.queued(runs, view, `“${view.name}” is in the queue.`);
    });
  }

  async compare() {
    await this.held(async () => {
      const spec = await specOfForm();
      if (!spec) return;
      this.queued(comparisons, await api.compareAdapters({ ...draft.comparison(), spec }, { quiet: true }), "The comparison is in the queue.");
    });
  }

  queued(errands, view, words) {
    errands.take(view);
    this.drawRuns();
    this.cards.get(view.id)?.element.scrollIntoView({ block: "nearest" });
    say(words);
  }

  async save() {
    const id = draft.single;
    await this.held(async () => {
      // The engine compares the data's hash before and after, and refuses where they differ.
      await api.editAdapter(id, this.details.changes(), { quiet: true });
      const { view } = await api.getAdapter(id, { quiet: true });
      shelf.know(view);
      say(`The details of “${view.title}” are saved. Its data is unchanged${view.auto_v3 ? ` (AutoV3 ${view.auto_v3.slice(0, 10)})` : ""}.`);
      this.details.readAgain();
    });
  }

  async held(act) {
    this.busy = true;
    this.drawGo();
    let fault = null;
    try {
      await act();
    } catch (error) {
      fault = error;
    }
    this.busy = false;
    this.drawGo();
    if (fault) this.failed(fault);
  }

  failed(error) {
    const ways = [];
    if (NAME_TAKEN.includes(error.code)) ways.push(h("button", { type: "button", class: "easel-mini", text: "Replace that file", onclick: () => this.run(true) }), h("button", { type: "button", class: "easel-mini", text: "Choose another name", onclick: () => this.details.name.input.select() }));
    if (error.code === "merge_base_needed") ways.push(h("button", { type: "button", class: "easel-mini", text: "Choose the base model", onclick: () => this.target.askForBase() }));
    this.fault.replaceChildren(h("p", { text: inFull(error) }), ...(ways.length ? [h("div", { class: "easel-mini-buttons" }, ...ways)] : []));
    this.fault.hidden = false;
  }

  drawRuns() {
    // Those of a merge stand on its own card.
    const list = [...runs.list, ...comparisons.list.filter((view) => !view.merge_id)].sort((a, b) => b.created_at - a.created_at);
    const known = new Set(list.map((view) => view.id));
    for (const id of [...this.cards.keys()]) if (!known.has(id)) this.cards.delete(id);
    const elements = list.map((view) => {
      if (this.cards.has(view.id)) this.cards.get(view.id).update(view);
      else this.cards.set(view.id, view.plan ? new ComparisonCard(view) : new MergeRunCard(view));
      return this.cards.get(view.id).element;
    });
    arrange(this.list, elements);
    const fault = runs.fault ?? comparisons.fault;
    this.none.hidden = list.length > 0;
    this.none.textContent = fault ? inFull(fault) : "Nothing has been merged yet. What you run stands here with its numbers, and can be undone.";
  }
}

customElements.define("easel-merge", MergeStudio);
