// One merge of the list: how far it is, what it made, and what can be done with the result.

import { openAdapter } from "./adapter_drawer.js";
import { addToStack } from "./adapter_card.js";
import { api } from "./api.js";
import { h, seconds, tool, when } from "./dom.js";
import { ErrandCard } from "./errand_card.js";
import { MergeCompare } from "./merge_compare.js";
import { energyWords, loss } from "./merge_plots.js";
import { saveRecipe, takeRecipe } from "./merge_recipe.js";
import { runs } from "./merge_runs.js";
import { TASKS } from "./merge_tasks.js";
import { say } from "./say.js";
import { shelf } from "./shelf.js";
import { bytes } from "./size.js";
import { stack } from "./stack.js";

const WORST = 12;
const ADAPTERS = ["merge", "extract", "convert"];
const titleOfTask = (recipe) => TASKS.find((task) => task.id === (recipe.task === "merge" && recipe.inputs.length === 1 ? "resize" : recipe.task))?.title ?? recipe.task;

export class MergeRunCard extends ErrandCard {
  constructor(view) {
    super(view, { errands: runs, title: view.name, kind: titleOfTask(view.recipe), cancel: `Cancel the merge ${view.name}`, attributes: { "data-merge": view.id } });
  }

  get made() {
    return this.view.file_id;
  }

  update(view) {
    super.update(view);
    this.compare?.update();
  }

  told() {
    const { status, progress, report, finished_at } = this.view;
    if (status === "queued") return "waits for its turn";
    if (status === "running") return [`${Math.round(progress.fraction * 100)} %`, progress.stage, progress.seconds_left === null ? "" : `${seconds(progress.seconds_left)} left`].filter(Boolean).join(" · ");
    if (status === "canceled") return "cancelled; nothing of the file is left";
    if (status === "failed") return "failed; nothing was written";
    if (!this.view.file_id) return "undone: the file is in the bin";
    return [report?.seconds ? `made in ${seconds(report.seconds)}` : "", finished_at ? when(finished_at) : ""].filter(Boolean).join(" · ");
  }

  failed() {
    return [...super.failed(), this.buttons([])];
  }

  canceled() {
    return [this.buttons([])];
  }

  done() {
    const { report, recipe, file_id } = this.view;
    const adapter = ADAPTERS.includes(recipe.task);
    const parts = [];
    if (report) {
      const rows = [["Size", bytes(report.size_bytes)], ["Loss", loss(report.error)], ["Energy kept", energyWords(report.energy)], ["Beside the stack", report.parity === null ? "" : report.parity < 1e-6 ? "the same" : `${loss(report.parity)} apart`], ["Layers", String(report.modules.length || "")]].filter(([, value]) => value);
      parts.push(h("dl", { class: "easel-merge-facts-list" }, ...rows.map(([name, value]) => h("div", {}, h("dt", { text: name, title: HINTS[name] ?? null }), h("dd", { text: value })))));
      parts.push(...report.notices.map((text) => h("p", { class: "easel-merge-notice", text })));
    }
    if (file_id && adapter) {
      const use = h("button", { type: "button", class: "easel-tool easel-wide easel-strong", text: "Use it", title: "Put the file into the stack", onclick: () => this.use() });
      const compare = recipe.task === "merge" ? tool("grid", "Compare with the stack", () => this.turnCompare(), { wide: true }) : null;
      parts.push(this.buttons([use, compare, tool("info", "About the file", () => openAdapter(file_id), { wide: true })]));
    } else {
      if (file_id) parts.push(h("p", { class: "easel-hint", text: "It is in the list of models of Text to image." }));
      parts.push(this.buttons([]));
    }
    if (report?.modules.length) parts.push(worst(report.modules));
    return parts;
  }

  buttons(first) {
    const { view } = this;
    const again = tool("recall", "Take the recipe", () => {
      takeRecipe(view.recipe, view.name);
      document.querySelector("easel-merge").scrollIntoView({ block: "start" });
    }, { wide: true });
    const save = tool("download", "Save the recipe", () => saveRecipe(view.recipe, view.name));
    const undo = view.file_id ? tool("bin", "Delete the file…", () => this.askUndo(undo), { wide: true }) : null;
    return h("div", { class: "easel-buttons" }, ...first.filter(Boolean), again, save, ...(undo ? [undo] : []));
  }

  // Deleting has no way back from here, so it is asked for twice.
  askUndo(button) {
    const really = h("button", { type: "button", class: "easel-tool easel-wide easel-cancel", text: "Really delete it", onclick: () => this.undo() });
    button.replaceWith(really);
    really.focus();
    really.addEventListener("blur", () => really.isConnected && really.replaceWith(button), { once: true });
  }

  async undo() {
    const before = this.view.file_id;
    runs.take(await api.deleteMerged(this.view.id));
    const row = stack.holds(before);
    if (row) stack.remove(row.key);
    shelf.forget();
    say(`“${this.view.name}” is in the bin.`);
  }

  async use() {
    const view = await shelf.learn(this.view.file_id);
    if (!view) return say("The library has not found the file yet; try again in a moment.", { kind: "error" });
    addToStack(view);
    const names = this.view.recipe.task === "merge" ? this.view.recipe.inputs.map((input) => input.name) : [];
    const inputs = stack.rows.filter((row) => names.includes(row.name) && row.enabled);
    if (!inputs.length) return say(`“${view.title}” is in the stack.`);
    // Both together would act twice.
    say(`“${view.title}” is in the stack, and so are its inputs: together they act twice.`, { action: "Switch the inputs off", onAction: () => inputs.forEach((row) => stack.set(row.key, { enabled: false })) });
  }

  turnCompare() {
    this.compare ??= new MergeCompare(() => this.view);
    if (this.compare.element.isConnected) this.compare.element.remove();
    else this.body.append(this.compare.element);
  }
}

const HINTS = {
  Loss: "‖written − exact‖ / ‖exact‖ of the whole file, rounding included",
  "Beside the stack": "‖merged − stacked‖ / ‖stacked‖ of the whole file",
};

function worst(modules) {
  const rows = [...modules].sort((a, b) => b.error - a.error).slice(0, WORST);
  const head = h("tr", {}, ...["Layer", "Block", "Rank", "Energy kept", "Loss"].map((text) => h("th", { scope: "col", text })));
  const body = rows.map((one) => h("tr", {}, h("th", { scope: "row", title: `${one.component}, ${one.kind}`, text: one.module }), h("td", { text: one.block }), h("td", { text: one.rank ? (one.full_rank > one.rank ? `${one.rank} of ${one.full_rank}` : one.rank) : "–" }), h("td", { text: energyWords(one.energy) }), h("td", { text: loss(one.error) })));
  return h("details", { class: "easel-fold" }, h("summary", { text: modules.length > WORST ? `The ${WORST} layers that lose most` : "Layer by layer" }), h("div", { class: "easel-scroll" }, h("table", { class: "easel-merge-table" }, h("thead", {}, head), h("tbody", {}, ...body))));
}
