// <easel-stack>: the rows of the adapter stack with all that belongs to it. place="form": folded, in Text to image;
// place="desk": open, on the Adapters tab. Both show the same list.

import { ConflictMap } from "./conflict_map.js";
import { h, onceAFrame, tool } from "./dom.js";
import { live } from "./live.js";
import { match } from "./match.js";
import { draft, takeStack } from "./merge_draft.js";
import { namedStacks } from "./named_stacks.js";
import { showTab } from "./pictures.js";
import { openPlot } from "./plot.js";
import { prompt } from "./prompt.js";
import { RepaintSwitch } from "./repaint.js";
import { say } from "./say.js";
import { stack } from "./stack.js";
import { orderable } from "./stack_order.js";
import { StackRow } from "./stack_row.js";
import { Suggestions } from "./suggestions.js";
import { promptTags, takeTags } from "./prompt_tags.js";

const OPEN_KEY = "easel-stack-open";

class StackPanel extends HTMLElement {
  connectedCallback() {
    if (!this.list) this.build();
    this.redraw ??= onceAFrame(() => this.draw());
    for (const kind of ["rows", "values", "views"]) stack.addEventListener(kind, this.redraw);
    match.addEventListener("change", this.redraw);
    live.addEventListener("prompt", this.redraw);
    this.draw();
  }

  disconnectedCallback() {
    for (const kind of ["rows", "values", "views"]) stack.removeEventListener(kind, this.redraw);
    match.removeEventListener("change", this.redraw);
    live.removeEventListener("prompt", this.redraw);
  }

  get desk() {
    return this.getAttribute("place") === "desk";
  }

  build() {
    this.rows = new Map();
    this.list = h("ol", { class: "easel-adapter-rows", "aria-label": "Adapter stack, in the order of their priority" });
    this.told = h("p", { class: "easel-unseen", "aria-live": "polite" });
    this.count = h("span", { class: "easel-pill easel-stack-count" });
    this.empty = h("div", { class: "easel-stack-empty" });
    this.tags = h("div", { class: "easel-tags-found", hidden: true });
    this.conflicts = new ConflictMap();
    this.suggestions = new Suggestions();
    this.repaint = new RepaintSwitch();
    this.plot = tool("grid", "X/Y plot…", () => openPlot(), { wide: true });
    this.plot.title = "One click: the same picture with several weights, side by side";
    this.merge = tool("blend", "Merge…", () => this.openMerge(), { wide: true });
    this.merge.title = "Make one file of the stack, on the Merge tab";
    this.clear = tool("bin", "Remove all", () => this.removeAll(), { wide: true });
    this.tools = h("div", { class: "easel-stack-tools" }, this.repaint.element, h("div", { class: "easel-buttons" }, this.plot, this.merge, this.clear));
    orderable(this.list, this.rows, (text) => (this.told.textContent = text));
    const body = [this.tags, this.empty, this.list, this.told, this.tools, this.conflicts.element, this.suggestions.element, namedStacks()];
    if (this.desk) {
      this.append(h("section", { class: "easel-stack easel-card", "aria-label": "Adapter stack" }, h("header", {}, h("h3", { text: "Stack" }), this.count), ...body));
      return;
    }
    this.fold = h("details", { class: "easel-stack" }, h("summary", {}, h("span", { text: "Adapters" }), this.count), ...body);
    // Open where there is something in it, unless the person has decided otherwise.
    this.fold.addEventListener("toggle", () => {
      if (this.fold.open !== this.wished()) localStorage.setItem(OPEN_KEY, String(this.fold.open));
      if (this.fold.open) this.redraw();
    });
    this.append(this.fold);
  }

  wished() {
    const chosen = localStorage.getItem(OPEN_KEY);
    return chosen === null ? stack.rows.length > 0 : chosen === "true";
  }

  draw() {
    const { rows } = stack;
    const on = stack.active().length;
    this.count.textContent = rows.length === 0 ? "none" : on === rows.length ? String(on) : `${on} of ${rows.length}`;
    this.count.title = `${on} of ${rows.length} adapters are on`;
    if (this.fold && this.filled !== rows.length > 0) {
      this.filled = rows.length > 0;
      this.fold.open = this.wished();
    }
    for (const [key, row] of this.rows) {
      if (stack.find(key) !== row.row) {
        row.element.remove();
        this.rows.delete(key);
      }
    }
    this.place(rows.map((row) => this.rowOf(row)));
    for (const row of this.rows.values()) row.update();
    this.drawEmpty();
    this.drawTags();
    this.tools.hidden = rows.length === 0;
    this.conflicts.update();
    this.suggestions.update();
    this.repaint.update();
  }

  rowOf(row) {
    if (!this.rows.has(row.key)) this.rows.set(row.key, new StackRow(row));
    return this.rows.get(row.key).element;
  }

  // Rows that stand where they belong are not touched: the focus would be lost.
  place(elements) {
    const had = this.list.contains(document.activeElement) ? document.activeElement : null;
    elements.forEach((element, place) => {
      if (this.list.children[place] !== element) this.list.insertBefore(element, this.list.children[place] ?? null);
    });
    if (had && document.activeElement !== had && this.list.contains(had)) had.focus({ preventScroll: true });
  }

  drawEmpty() {
    this.empty.hidden = stack.rows.length > 0;
    if (this.empty.hidden || this.empty.firstChild) return;
    this.empty.append(h("p", { class: "easel-hint", text: this.desk ? "Nothing is stacked. Click an adapter to add it; it works on the next picture." : "Small files that teach the model a style, a subject or a trick. Stack as many as you like." }));
    if (!this.desk) this.empty.append(tool("plus", "Choose adapters", () => showTab("adapters"), { wide: true }));
  }

  drawTags() {
    const found = promptTags(prompt.text());
    this.tags.hidden = found.length === 0;
    if (!found.length) return;
    const text = found.length === 1 ? `The prompt itself names “${found[0].name}”.` : `The prompt itself names ${found.length} adapters.`;
    const take = h("button", { type: "button", class: "easel-mini", text: "Take into the stack", title: "The tags leave the prompt and become rows here, with the same weights.", onclick: () => takeTags(found) });
    this.tags.replaceChildren(h("span", { text }), take);
  }

  // Show where an adapter stands.
  flash(id) {
    const row = stack.holds(id);
    if (row && this.offsetParent) this.rows.get(row.key)?.flash();
  }

  openMerge() {
    draft.choose("merge");
    takeStack();
    showTab("merge");
  }

  removeAll() {
    const undo = stack.replace([]);
    say("The stack is empty.", { action: "Undo", onAction: undo });
  }
}

prompt.watch(() => live.tell("prompt"));
customElements.define("easel-stack", StackPanel);
