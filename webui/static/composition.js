// <easel-composition>: all units as one picture: the timeline, advice, and the hints side by side.

import { assetUrl } from "./assets.js";
import { advise } from "./control_advice.js";
import { openCompare } from "./control_compare.js";
import { SOURCES } from "./control_panel.js";
import { controlTitle } from "./control_shelf.js";
import { Timeline } from "./control_timeline.js";
import { fitOf } from "./control_wells.js";
import { units } from "./control_units.js";
import { h, onceAFrame, tool } from "./dom.js";
import { formNumber, pictureSize } from "./form_numbers.js";
import { hints } from "./hints.js";

class Composition extends HTMLElement {
  connectedCallback() {
    if (!this.timeline) this.build();
    this.redraw ??= onceAFrame(() => this.draw());
    for (const [from, kind] of SOURCES) from.addEventListener(kind, this.redraw);
    this.draw();
  }

  disconnectedCallback() {
    for (const [from, kind] of SOURCES) from.removeEventListener(kind, this.redraw);
  }

  build() {
    this.timeline = new Timeline();
    this.advice = h("ul", { class: "easel-advice", "aria-live": "polite" });
    this.hints = h("div", { class: "easel-hint-row", role: "list" });
    this.empty = h("p", { class: "easel-hint", text: "Add a unit: its strength over the steps, and its hint, show here." });
    this.rule = h("p", { class: "easel-hint", text: "Units that count percents by noise are drawn for evenly spaced steps; the schedule moves them a little." });
    this.compare = tool("grid", "Compare…", () => openCompare(), { wide: true });
    this.compare.title = "The same picture without units, with each alone, and with all";
    this.parts = h("div", { class: "easel-composition-parts" }, this.timeline.element, this.rule, this.advice, h("h4", { text: "Hints side by side" }), this.hints);
    this.append(h("section", { class: "easel-card easel-composition", "aria-label": "How the units work together" }, h("header", {}, h("h3", { text: "How they work together" }), this.compare), this.empty, this.parts));
  }

  draw() {
    const { rows } = units;
    this.empty.hidden = rows.length > 0;
    this.parts.hidden = rows.length === 0;
    this.compare.disabled = units.active().length === 0;
    if (!rows.length) return;
    this.timeline.update();
    this.rule.hidden = !units.active().some((row) => row.percent_rule === "sigma");
    const said = advise(rows, formNumber("steps"));
    if (this.said !== said.join()) {
      this.said = said.join();
      this.advice.replaceChildren(...said.map((words) => h("li", { text: words })));
    }
    this.advice.hidden = said.length === 0;
    this.drawHints();
  }

  drawHints() {
    const { width, height } = pictureSize();
    const shown = units.active().map((row) => ({ row, hint: hints.of(row) }));
    const key = JSON.stringify([width, height, shown.map(({ row, hint }) => [row.key, row.resize, units.rows.indexOf(row), row.model, hint.state, hint.view?.ref, row.kind, row.image])]);
    if (this.key === key) return;
    this.key = key;
    this.hints.replaceChildren(...shown.map(({ row, hint }) => tile(row, hint, `${width} / ${height}`)));
  }
}

function tile(row, { view, state }, shape) {
  const name = `${units.rows.indexOf(row) + 1} · ${controlTitle(row)}`;
  const plain = row.kind !== "controlnet" && row.image;
  const shown = plain ? row.image : view?.ref;
  const picture = shown ? h("img", { src: assetUrl(shown), alt: plain ? `Picture of unit ${name}` : `Hint of unit ${name}` }) : h("span", { class: "easel-well-words", text: { none: "no picture", failed: "no hint", asking: "…" }[state] ?? "" });
  const frame = h("div", { class: "easel-well" }, picture);
  frame.style.aspectRatio = shape;
  if (shown) picture.style.objectFit = fitOf(row);
  return h("figure", { role: "listitem", "data-colour": row.colour }, frame, h("figcaption", { text: name, title: name }));
}

customElements.define("easel-composition", Composition);
