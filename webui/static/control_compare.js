// The same picture without units, with each alone, and with all: what does each of them do?

import { specOfForm } from "./api.js";
import { controlTitle } from "./control_shelf.js";
import { units, unitOf } from "./control_units.js";
import { h, tool } from "./dom.js";
import { live } from "./live.js";
import { PaintedCell } from "./painted_cell.js";
import { seedFor } from "./stage.js";

let dialog = null;

export function openCompare() {
  dialog ??= new CompareDialog();
  dialog.open();
}

class CompareDialog {
  constructor() {
    this.cells = [];
    this.words = h("span", { class: "easel-quiet", role: "status" });
    this.start = h("button", { type: "button", class: "easel-tool easel-wide easel-strong", text: "Paint them", onclick: () => this.paint() });
    this.stop = tool("close", "Cancel the rest", () => this.cancel(), { wide: true });
    this.grid = h("div", { class: "easel-compare" });
    this.element = h(
      "dialog",
      { class: "easel-plot-dialog", "aria-label": "Compare the units" },
      h("header", {}, h("h3", { text: "What does each unit do?" }), tool("close", "Close", () => this.element.close())),
      h("p", { class: "easel-hint", text: "The same prompt and seed: without units, with each alone, and with all. It goes on when this window is closed." }),
      h("div", { class: "easel-plot-line" }, this.words, this.stop, this.start),
      h("div", { class: "easel-plot-scroll" }, this.grid),
    );
    document.body.append(this.element);
    live.addEventListener("jobs", () => this.update());
  }

  open() {
    if (!this.element.open) this.element.showModal();
    this.update();
    this.start.focus();
  }

  async paint() {
    const spec = await specOfForm();
    if (!spec) return;
    this.cancel();
    const seed = seedFor(spec);
    const active = units.active();
    const alone = active.length > 1 ? active.map((row) => [controlTitle(row), [row]]) : [];
    const plan = { stopped: false };
    this.plan = plan;
    this.cells = [["Without", []], ...alone, [active.length > 1 ? "All together" : controlTitle(active[0]), active]].map(([title, rows]) => {
      const picture = new PaintedCell(title, { why: true });
      return { picture, controls: rows.map(unitOf), figure: h("figure", {}, picture.element, h("figcaption", { text: title })) };
    });
    this.grid.replaceChildren(...this.cells.map((cell) => cell.figure));
    this.words.dataset.seed = seed;
    for (const cell of this.cells) {
      if (plan.stopped) return;
      try {
        await cell.picture.paint({ ...spec, seed, controls: cell.controls });
      } catch {
        // The sentence was said; a refusal of one is often one of all.
        plan.stopped = true;
      }
      this.update();
    }
  }

  cancel() {
    if (this.plan) this.plan.stopped = true;
    for (const { picture } of this.cells) picture.cancel();
  }

  update() {
    if (!this.element.open) return;
    for (const { picture } of this.cells) picture.update();
    const open = this.cells.some(({ picture }) => picture.open);
    const painted = this.cells.filter(({ picture }) => picture.image).length;
    this.words.textContent = this.cells.length ? `${painted} of ${this.cells.length} pictures · seed ${this.words.dataset.seed}` : `${units.active().length > 1 ? units.active().length + 2 : 2} pictures`;
    this.stop.hidden = !open;
    this.start.disabled = open || !units.active().length;
  }
}
