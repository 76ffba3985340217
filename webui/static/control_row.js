// One ControlNet unit: its picture and hint, its network, how strongly and when it works.

import { ControlChoice } from "./control_choice.js";
import { ControlDetails } from "./control_details.js";
import { UnitKind } from "./control_kind.js";
import { PreprocessorChoice } from "./control_preprocessor.js";
import { controls, controlTitle } from "./control_shelf.js";
import { ControlWells } from "./control_wells.js";
import { ControlWindow } from "./control_window.js";
import { pictureIn } from "./assets.js";
import { h, icon, tool } from "./dom.js";
import { say } from "./say.js";
import { units } from "./control_units.js";
import { WeightSlider } from "./weight_slider.js";

export class ControlRow {
  constructor(row) {
    this.row = row;
    const set = (change) => units.set(row.key, change);
    this.grip = h("button", { type: "button", class: "easel-grip" }, icon("grip"));
    this.number = h("span", { class: "easel-unit-number" });
    this.title = h("strong", { class: "easel-row-title" });
    this.on = h("input", { type: "checkbox", role: "switch", class: "easel-switch", onchange: () => set({ muted: !this.on.checked }) });
    this.moreButton = tool("more", "Shape, importance, resolution", () => this.turnMore());
    const buttons = h("div", { class: "easel-row-buttons" }, this.moreButton, tool("copy", "Duplicate", () => units.duplicate(row.key)), tool("bin", "Remove", () => this.remove()));
    this.wells = new ControlWells(row);
    this.kind = new UnitKind(row);
    this.choice = new ControlChoice(row);
    this.preprocessor = new PreprocessorChoice(row);
    this.weight = new WeightSlider({ label: "Weight", title: "How strictly the picture follows the hint: 0 not at all, 1 as trained, 2 very strictly.", change: (weight) => set({ weight }), rest: () => controls.get(row.model)?.weight ?? controls.typeOf(row)?.weight ?? 1, low: 0, high: 2, least: 0, most: 2 });
    this.window = new ControlWindow(row);
    this.details = new ControlDetails(row);
    this.element = h(
      "li",
      { class: "easel-adapter easel-unit", "data-key": row.key, "data-colour": row.colour, onpaste: (event) => this.paste(event) },
      h("div", { class: "easel-row-head" }, this.grip, this.number, this.title, this.on, buttons),
      h("div", { class: "easel-unit-body" }, h("div", { class: "easel-unit-fields" }, this.wells.element, this.preprocessor.element), h("div", { class: "easel-unit-fields" }, this.kind.element, this.choice.element, this.weight.element, this.kind.fidelity.element, this.window.element), this.details.element),
    );
    if (this.details.used) this.turnMore();
    this.update();
  }

  update() {
    const { row } = this;
    const title = controlTitle(row);
    const place = units.rows.indexOf(row) + 1;
    this.number.textContent = place;
    this.title.textContent = title;
    this.title.title = controls.get(row.model)?.file ?? "";
    this.moreButton.hidden = row.kind === "ip_adapter" && row.percent_rule === "step";
    this.element.setAttribute("aria-label", `Unit ${place}: ${title}`);
    this.grip.setAttribute("aria-label", `Move unit ${place}, ${title}, of ${units.rows.length}`);
    this.grip.title = "Drag, or use the arrow keys";
    this.on.checked = !row.muted;
    this.on.setAttribute("aria-label", `Unit ${place} is on`);
    this.on.title = row.muted ? "Muted: click to use it" : "On: click to mute it; it stays in the list";
    this.moreButton.setAttribute("aria-expanded", String(!this.details.element.hidden));
    this.element.classList.toggle("easel-off", row.muted);
    const { low, high } = controls.get(row.model) ?? controls.typeOf(row) ?? { low: 0, high: 0 };
    this.element.dataset.kind = row.kind;
    this.weight.show(row.weight);
    this.weight.advise(low, high);
    for (const part of [this.kind, this.wells, this.choice, this.preprocessor, this.window, this.details]) part.update();
  }

  turnMore() {
    this.details.element.hidden = !this.details.element.hidden;
    this.moreButton.setAttribute("aria-expanded", String(!this.details.element.hidden));
  }

  paste(event) {
    const file = pictureIn(event.clipboardData);
    if (!file) return;
    event.preventDefault();
    this.wells.take(file);
  }

  remove() {
    const title = controlTitle(this.row);
    const undo = units.remove(this.row.key);
    say(`The unit ${title} is removed.`, { action: "Undo", onAction: undo });
  }
}
