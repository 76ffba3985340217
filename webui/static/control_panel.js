// <easel-controls>: the ControlNet units. place="form": folded, in Text to image; place="desk": open, on the ControlNet
// tab. Both show the same list.

import { keepPicture, pictureIn } from "./assets.js";
import { ControlRow } from "./control_row.js";
import { controls } from "./control_shelf.js";
import { units } from "./control_units.js";
import { h, onceAFrame, tool } from "./dom.js";
import { familyName } from "./family.js";
import { watchNumbers } from "./form_numbers.js";
import { hints } from "./hints.js";
import { showTab } from "./pictures.js";
import { say } from "./say.js";
import { orderable } from "./stack_order.js";

const OPEN_KEY = "easel-controls-open";

class ControlPanel extends HTMLElement {
  connectedCallback() {
    if (!this.list) this.build();
    this.redraw ??= onceAFrame(() => this.draw());
    for (const [from, kind] of SOURCES) from.addEventListener(kind, this.redraw);
    this.draw();
  }

  disconnectedCallback() {
    for (const [from, kind] of SOURCES) from.removeEventListener(kind, this.redraw);
  }

  get desk() {
    return this.getAttribute("place") === "desk";
  }

  build() {
    this.rows = new Map();
    this.list = h("ol", { class: "easel-adapter-rows easel-unit-rows", "aria-label": "ControlNet units" });
    this.told = h("p", { class: "easel-unseen", "aria-live": "polite" });
    this.count = h("span", { class: "easel-pill easel-stack-count" });
    this.empty = h("div", { class: "easel-units-empty" });
    this.add = tool("plus", "Add a unit", () => this.addUnit(), { wide: true });
    this.clear = tool("bin", "Remove all", () => this.removeAll(), { wide: true });
    const room = this.desk ? null : tool("enlarge", "More room", () => showTab("controlnet"), { wide: true });
    if (room) room.title = "The same units on the ControlNet tab, with the timeline";
    this.tools = h("div", { class: "easel-stack-tools" }, h("div", { class: "easel-buttons" }, this.add, room, this.clear));
    orderable(this.list, this.rows, (text) => (this.told.textContent = text), { order: units, nameOf: () => "The unit" });
    const body = [this.empty, this.list, this.told, this.tools];
    if (this.desk) {
      this.append(h("section", { class: "easel-stack easel-card", "aria-label": "ControlNet units" }, h("header", {}, h("h3", { text: "ControlNet units" }), this.count), ...body));
      this.takeStrays();
      return;
    }
    this.fold = h("details", { class: "easel-stack" }, h("summary", {}, h("span", { text: "ControlNet" }), this.count), ...body);
    // Open where there is something in it, unless the person has decided otherwise.
    this.fold.addEventListener("toggle", () => {
      if (this.fold.open !== this.wished()) localStorage.setItem(OPEN_KEY, String(this.fold.open));
      if (this.fold.open) this.redraw();
    });
    this.append(this.fold);
  }

  wished() {
    const chosen = localStorage.getItem(OPEN_KEY);
    return chosen === null ? units.rows.length > 0 : chosen === "true";
  }

  // Pictures that are dropped or pasted beside a unit go to the first without one, or become a new unit.
  takeStrays() {
    const open = () => Boolean(this.offsetParent);
    document.addEventListener("dragover", (event) => open() && event.preventDefault());
    document.addEventListener("drop", (event) => {
      if (!open() || event.defaultPrevented) return;
      event.preventDefault();
      this.takeStray(pictureIn(event.dataTransfer));
    });
    document.addEventListener("paste", (event) => {
      if (!open() || event.defaultPrevented || document.querySelector("dialog[open]") || event.target.closest?.("input[type=text], textarea")) return;
      this.takeStray(pictureIn(event.clipboardData));
    });
  }

  async takeStray(file) {
    const ref = file ? await keepPicture(file) : null;
    if (!ref) return;
    const row = units.rows.find((each) => !each.image) ?? this.addUnit();
    units.set(row.key, { image: ref, drawn: false });
  }

  draw() {
    const { rows } = units;
    const on = units.active().length;
    this.count.textContent = rows.length === 0 ? "none" : on === rows.length ? String(on) : `${on} of ${rows.length}`;
    this.count.title = `${on} of ${rows.length} units are on`;
    if (this.fold && this.filled !== rows.length > 0) {
      this.filled = rows.length > 0;
      this.fold.open = this.wished();
    }
    for (const [key, row] of this.rows) {
      if (units.find(key) !== row.row) {
        row.element.remove();
        this.rows.delete(key);
      }
    }
    this.place(rows.map((row) => this.rowOf(row)));
    for (const row of this.rows.values()) row.update();
    this.clear.hidden = rows.length === 0;
    // Until it is known what there is, a new unit would start with nothing.
    this.add.disabled = controls.state === "unasked";
    this.drawEmpty();
  }

  rowOf(row) {
    if (!this.rows.has(row.key)) this.rows.set(row.key, new ControlRow(row));
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
    const none = controls.state === "ready" && !controls.controlnets.length;
    const unfit = controls.state === "ready" && !none && !controls.fitting().length;
    this.empty.hidden = units.rows.length > 0 && !none;
    const family = familyName(controls.family) || "this kind of";
    const words = none
      ? "There are no ControlNet files yet. Put .safetensors files or diffusers folders into models/controlnet; they show up by themselves. The starter model brings its own."
      : unfit
        ? `None of the ControlNets here fits the chosen model. Put some for ${family} models into models/controlnet, or choose the starter model, which brings its own.`
        : "A unit makes pictures follow a drawing, outlines, depth or a pose. Its files lie in models/controlnet; the starter model brings its own.";
    if (this.said === words) return;
    this.said = words;
    const ways = h("div", { class: "easel-buttons" }, tool("brush", "Draw a scribble", () => this.start((row) => row.wells.draw()), { wide: true }), tool("picture", "Take a picture of the history", () => this.start((row) => row.wells.chooseOld()), { wide: true }));
    this.empty.replaceChildren(h("p", { class: "easel-hint", text: words }), none || unfit ? "" : ways);
  }

  start(act) {
    act(this.rows.get(this.addUnit().key));
  }

  // The first ControlNet that fits and is not in use yet.
  addUnit() {
    const used = new Set(units.rows.map((row) => row.model));
    const fitting = controls.fitting();
    const view = fitting.find((each) => !used.has(each.id)) ?? fitting[0];
    const row = units.add(view ? controls.start(view) : {});
    this.draw();
    this.rows.get(row.key)?.element.scrollIntoView({ block: "nearest" });
    return row;
  }

  removeAll() {
    const undo = units.clear();
    say("All ControlNet units are removed.", { action: "Undo", onAction: undo });
  }
}

const numbers = new EventTarget();
watchNumbers(() => numbers.dispatchEvent(new Event("change")));
export const SOURCES = [[units, "rows"], [units, "values"], [controls, "change"], [hints, "change"], [numbers, "change"]];
customElements.define("easel-controls", ControlPanel);
