// The panel of a list of rows: how many are on, the rows in their order, dragged or moved with the arrow keys. With
// place="form" it is folded, in Text to image; with place="desk" it stands open on a tab of its own. Both show one list.

import { arrange, h, onceAFrame } from "./dom.js";
import { orderable } from "./stack_order.js";

export class RowPanel extends HTMLElement {
  // --- what a panel says itself ---

  // order: the `RowList`. openKey: where the page remembers that it is open. title, deskTitle: its name in the form and
  // on its tab. noun: what the rows are. rowsLabel, rowsClass: of the list. nameOf: how a moved row is called.
  get about() {
    throw new Error("a panel says what it is about");
  }

  // [what tells, of which kind] for all that makes it draw itself again.
  get sources() {
    return ["rows", "values"].map((kind) => [this.about.order, kind]);
  }

  // The elements of its body, around `this.list` and `this.told`.
  body() {
    return [this.list, this.told];
  }

  // Something with `element`, `grip`, `row` and `update()`.
  makeRow() {
    throw new Error("a panel makes its rows");
  }

  // After the rows are drawn.
  drawRest() {}

  // --- what all of them do ---

  connectedCallback() {
    if (!this.list) this.build();
    this.redraw ??= onceAFrame(() => this.draw());
    for (const [from, kind] of this.sources) from.addEventListener(kind, this.redraw);
    this.draw();
  }

  disconnectedCallback() {
    for (const [from, kind] of this.sources) from.removeEventListener(kind, this.redraw);
  }

  get desk() {
    return this.getAttribute("place") === "desk";
  }

  build() {
    const { order, title, deskTitle, rowsLabel, rowsClass = "", nameOf } = this.about;
    this.rows = new Map();
    this.list = h("ol", { class: `easel-adapter-rows ${rowsClass}`.trim(), "aria-label": rowsLabel });
    this.told = h("p", { class: "easel-unseen", "aria-live": "polite" });
    this.count = h("span", { class: "easel-pill easel-stack-count" });
    orderable(this.list, this.rows, (text) => (this.told.textContent = text), { order, nameOf });
    const body = this.body();
    if (this.desk) {
      this.append(h("section", { class: "easel-stack easel-card", "aria-label": this.about.label }, h("header", {}, h("h3", { text: deskTitle }), this.count), ...body));
      return;
    }
    this.fold = h("details", { class: "easel-stack" }, h("summary", {}, h("span", { text: title }), this.count), ...body);
    // Open where there is something in it, unless the person has decided otherwise.
    this.fold.addEventListener("toggle", () => {
      if (this.fold.open !== this.wished()) localStorage.setItem(this.about.openKey, String(this.fold.open));
      if (this.fold.open) this.redraw();
    });
    this.append(this.fold);
  }

  wished() {
    const chosen = localStorage.getItem(this.about.openKey);
    return chosen === null ? this.about.order.rows.length > 0 : chosen === "true";
  }

  draw() {
    const { order, noun } = this.about;
    const { rows } = order;
    const on = order.active().length;
    this.count.textContent = rows.length === 0 ? "none" : on === rows.length ? String(on) : `${on} of ${rows.length}`;
    this.count.title = `${on} of ${rows.length} ${noun} are on`;
    if (this.fold && this.filled !== rows.length > 0) {
      this.filled = rows.length > 0;
      this.fold.open = this.wished();
    }
    for (const [key, row] of this.rows) if (order.find(key) !== row.row) this.rows.delete(key);
    arrange(this.list, rows.map((row) => this.rowOf(row)));
    for (const row of this.rows.values()) row.update();
    this.drawRest();
  }

  rowOf(row) {
    if (!this.rows.has(row.key)) this.rows.set(row.key, this.makeRow(row));
    return this.rows.get(row.key).element;
  }
}
