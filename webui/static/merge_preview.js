// What the recipe would make, before anything is written: sizes and errors side by side, strength by block, spectra.

import { api } from "./api.js";
import { h } from "./dom.js";
import { familyName } from "./family.js";
import { draft } from "./merge_draft.js";
import { blockBars, energyCurve, energyWords, legend, likeness, loss, percent, spectrum } from "./merge_plots.js";
import { inFull } from "./say.js";
import { titleOf } from "./shelf.js";
import { bytes } from "./size.js";
import { settled } from "./timing.js";

const PAUSE = 700;
const LOOKED_AT = ["merge", "resize"];

export class MergePreview {
  constructor({ askForBase }) {
    this.askForBase = askForBase;
    this.turn = 0;
    // Once a person has asked, it follows what they change.
    this.wanted = false;
    this.button = h("button", { type: "button", class: "easel-tool easel-wide", text: "Preview", title: "Sizes, errors and plots from a sample of the layers. Nothing is written.", onclick: () => this.ask() });
    this.state = h("span", { class: "easel-quiet", role: "status" });
    this.content = h("div", { class: "easel-merge-analysis" });
    this.element = h("section", { class: "easel-card easel-merge-part", "aria-label": "Before you run it" }, h("header", {}, h("h3", { text: "Before you run it" }), this.state, this.button), this.content);
    this.later = settled(() => this.look(), PAUSE);
    draft.addEventListener("edited", () => this.changed());
    draft.addEventListener("task", () => this.reset());
    this.reset();
  }

  reset() {
    this.turn += 1;
    this.wanted = false;
    this.later.cancel();
    this.result = null;
    draft.see(null);
    // Of the others the report says it all.
    this.element.hidden = !LOOKED_AT.includes(draft.task);
    this.state.textContent = "";
    this.content.replaceChildren(h("p", { class: "easel-hint", text: "How large the file will be, what it loses, where it acts and how alike the inputs are. Nothing is written." }));
    this.changed();
  }

  changed() {
    const missing = draft.missing();
    this.button.disabled = Boolean(missing);
    this.button.title = missing || "Sizes, errors and plots from a sample of the layers. Nothing is written.";
    const key = missing ? "" : JSON.stringify({ ...draft.recipe(), metadata: null });
    if (key === this.key) return;
    this.key = key;
    draft.see(null);
    if (!this.wanted) return;
    this.content.classList.toggle("easel-stale", true);
    if (missing) this.later.cancel();
    else this.later();
  }

  ask() {
    this.wanted = true;
    this.look();
  }

  async look() {
    if (draft.missing()) return;
    const turn = ++this.turn;
    this.later.cancel();
    this.state.textContent = "looking…";
    this.element.setAttribute("aria-busy", "true");
    try {
      const result = await api.previewMerge({ recipe: { ...draft.recipe(), metadata: {} }, usual_base: draft.usualBase() }, { quiet: true });
      if (turn !== this.turn) return;
      this.result = result;
      draft.see(result.loss);
      this.draw();
    } catch (error) {
      if (turn !== this.turn) return;
      this.failed(error);
    }
    this.state.textContent = "";
    this.element.removeAttribute("aria-busy");
    this.content.classList.remove("easel-stale");
  }

  failed(error) {
    const base = error.code === "merge_base_needed" ? h("button", { type: "button", class: "easel-mini", text: "Choose the base model", onclick: () => this.askForBase() }) : null;
    this.content.replaceChildren(h("div", { class: "easel-merge-fault", role: "alert" }, h("p", { text: inFull(error) }), base ?? ""));
  }

  names() {
    return draft.rows.length && draft.task !== "resize" ? draft.rows.map((row) => titleOf(row.name)) : [titleOf(draft.single)];
  }

  draw() {
    const { result } = this;
    const names = this.names();
    this.content.replaceChildren(
      ...[
        this.facts(),
        result.choices.length ? this.choices() : null,
        ...this.ranks(),
        ...(result.blocks.length ? [part("Strength in each block", "How large the change is in each part of the model, from the first to the last. The middle lays the picture out, the ends paint details.", blockBars(result.blocks, names), names.length > 1 ? legend(names) : null)] : []),
        ...(result.pairs.length ? [part("How alike they are", "1: both do the same, together it is twice as strong. 0: they do not disturb each other. −1: they undo each other.", likeness(result.pairs, names, false)), this.signs(names)] : []),
        this.spectra(),
        ...result.notices.map((text) => h("p", { class: "easel-merge-notice", text })),
      ].filter(Boolean),
    );
  }

  facts() {
    const { family, modules, sampled, size_bytes } = this.result;
    const rows = [["Size", bytes(size_bytes)], ["Loss", loss(this.result.loss)], ["For", familyName(family)], ["Layers", sampled < modules ? `${modules}, ${sampled} of them looked at` : String(modules)]].filter(([, value]) => value);
    return h("dl", { class: "easel-merge-facts-list" }, ...rows.map(([name, value]) => h("div", {}, h("dt", { text: name, title: name === "Loss" ? "‖result − exact‖ / ‖exact‖ of what reduction cuts away" : null }), h("dd", { text: value }))));
  }

  choices() {
    // An exact way is one without a rank; a click that leaves the rank would do nothing.
    const take = (kind) => draft.set({ kind, ...(kind !== "auto" && draft.task === "merge" && !draft.reduces ? { rule: "none" } : {}) });
    const rows = this.result.choices.map((one) => {
      const pick = h("input", { type: "radio", name: "easel-merge-choice", "aria-label": `Take: ${one.title}`, onchange: () => take(one.kind) });
      pick.checked = one.chosen;
      return h("tr", { "data-chosen": String(one.chosen), onclick: () => !one.chosen && take(one.kind) }, h("td", {}, pick), h("th", { scope: "row", text: one.title }), h("td", { text: bytes(one.size_bytes) }), h("td", { text: loss(one.loss) }), h("td", { text: energyWords(Math.max(0, 1 - one.loss ** 2)) }));
    });
    const head = h("tr", {}, h("th"), ...["Way", "Size", "Loss", "Energy kept"].map((text) => h("th", { scope: "col", text })));
    return h("div", { class: "easel-scroll" }, h("table", { class: "easel-merge-table" }, h("thead", {}, head), h("tbody", {}, ...rows)));
  }

  // A click on a rank takes it.
  ranks() {
    const points = this.result.spectrum_energy;
    if (points.length < 2) return [];
    const chosen = draft.rule === "rank" ? Number(draft.rank) : null;
    const full = points.at(-1)[0];
    const buttons = points.map(([rank, share]) => h("tr", { "data-chosen": String(rank === chosen), onclick: () => draft.set({ rule: "rank", rank }) }, h("th", { scope: "row" }, h("button", { type: "button", class: "easel-mini", "aria-pressed": String(rank === chosen), text: String(rank), title: `Reduce to rank ${rank}` })), h("td", { text: energyWords(share) }), h("td", { text: loss(Math.sqrt(Math.max(0, 1 - share))) })));
    const head = h("tr", {}, ...["Rank", "Energy kept", "Loss"].map((text) => h("th", { scope: "col", text })));
    const table = h("table", { class: "easel-merge-table easel-merge-ranks" }, h("thead", {}, head), h("tbody", {}, ...buttons));
    const exact = draft.rule !== "none" && draft.task === "merge" ? h("button", { type: "button", class: "easel-mini", text: "All of it (exact)", onclick: () => draft.set({ rule: "none" }) }) : null;
    return [part("What a smaller rank keeps", `Over all layers that were looked at, up to rank ${full}. A click takes the rank.`, h("div", { class: "easel-merge-split" }, energyCurve(points, this.mark(), (rank) => draft.set({ rule: "rank", rank })), h("div", { class: "easel-scroll" }, table)), exact)];
  }

  // Where the recipe stands on the curve: its rank, or what its rule comes to on average.
  mark() {
    const ranks = this.result.spectra.map((one) => one.rank);
    if (!ranks.length) return null;
    const rank = draft.rule === "rank" ? Number(draft.rank) : Math.max(1, Math.round(ranks.reduce((sum, each) => sum + each, 0) / ranks.length));
    if (rank > this.result.spectrum_energy.at(-1)[0]) return null;
    return { rank, words: draft.rule === "rank" ? `rank ${rank}` : new Set(ranks).size === 1 ? `rank ${rank}, as it comes out` : `about rank ${rank}` };
  }

  signs(names) {
    const method = draft.method;
    if (!["ties", "dare_ties"].includes(method)) return null;
    return part("Where signs differ, in %", "The share of the strength that TIES has to decide about.", likeness(this.result.pairs, names, true));
  }

  spectra() {
    const { spectra } = this.result;
    if (!spectra.length) return null;
    const select = h("select", { "aria-label": "Layer" }, ...spectra.map((one, place) => h("option", { value: place, text: `${one.block} · ${one.module}` })));
    const plot = h("div");
    const words = h("p", { class: "easel-hint" });
    const draw = () => {
      const one = spectra[Number(select.value)];
      words.textContent = `${one.values.length} singular values; rank ${one.rank} keeps ${percent(one.energy[one.rank - 1] ?? 1)} of the energy.`;
      plot.replaceChildren(spectrum(one));
    };
    select.addEventListener("change", draw);
    draw();
    return part("Singular values", "Of one layer, the largest first; what the rank cuts away is pale.", h("label", { class: "easel-merge-field" }, select), plot, words);
  }
}

function part(title, words, ...children) {
  return h("div", { class: "easel-merge-plot-part" }, h("h4", { text: title }), h("p", { class: "easel-hint", text: words }), ...children.filter(Boolean));
}
