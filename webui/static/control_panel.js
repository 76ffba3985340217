// <easel-controls>: the ControlNet units. place="form": folded, in Text to image; place="desk": open, on the ControlNet
// tab. Both show the same list.

import { keepPicture, pictureIn, sayNoPicture } from "./assets.js";
import { ControlRow } from "./control_row.js";
import { controls } from "./control_shelf.js";
import { units } from "./control_units.js";
import { h, tool } from "./dom.js";
import { familyName } from "./family.js";
import { watchNumbers } from "./form_numbers.js";
import { hints } from "./hints.js";
import { showTab } from "./pictures.js";
import { RowPanel } from "./row_panel.js";
import { say } from "./say.js";

const ABOUT = {
  order: units,
  openKey: "easel-controls-open",
  title: "ControlNet",
  deskTitle: "ControlNet units",
  label: "ControlNet units",
  noun: "units",
  rowsLabel: "ControlNet units",
  rowsClass: "easel-unit-rows",
  nameOf: () => "The unit",
};

class ControlPanel extends RowPanel {
  get about() {
    return ABOUT;
  }

  get sources() {
    return SOURCES;
  }

  body() {
    this.empty = h("div", { class: "easel-units-empty" });
    this.add = tool("plus", "Add a unit", () => this.addUnit(), { wide: true });
    this.clear = tool("bin", "Remove all", () => this.removeAll(), { wide: true });
    const room = this.desk ? null : tool("enlarge", "More room", () => showTab("controlnet"), { wide: true });
    if (room) room.title = "The same units on the ControlNet tab, with the timeline";
    this.tools = h("div", { class: "easel-stack-tools" }, h("div", { class: "easel-buttons" }, this.add, room, this.clear));
    return [this.empty, this.list, this.told, this.tools];
  }

  build() {
    super.build();
    if (this.desk) this.takeStrays();
  }

  makeRow(row) {
    return new ControlRow(row);
  }

  // Pictures that are dropped or pasted beside a unit go to the first without one, or become a new unit.
  takeStrays() {
    const open = () => Boolean(this.offsetParent);
    document.addEventListener("dragover", (event) => open() && event.preventDefault());
    document.addEventListener("drop", (event) => {
      if (!open() || event.defaultPrevented) return;
      event.preventDefault();
      if (!pictureIn(event.dataTransfer)) return sayNoPicture(event.dataTransfer);
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

  drawRest() {
    this.clear.hidden = units.rows.length === 0;
    // Until it is known what there is, a new unit would start with nothing.
    this.add.disabled = controls.state === "unasked";
    this.drawEmpty();
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
        : "A unit makes pictures follow a drawing, outlines, depth or a pose, or resemble another picture. Its files lie in models/controlnet; the starter model brings its own.";
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
