// X/Y plot: the same picture with several weights of one or two adapters, as a grid that fills while it is painted.

import { specOfForm } from "./api.js";
import { h, tool } from "./dom.js";
import { live } from "./live.js";
import { PaintedCell } from "./painted_cell.js";
import { savePlot } from "./plot_picture.js";
import { say } from "./say.js";
import { titleOf } from "./shelf.js";
import { seedFor } from "./stage.js";
import { refOf, stack } from "./stack.js";

const MOST = 49;
const MOST_WEIGHT = 10;
let dialog = null;

export function openPlot() {
  dialog ??= new PlotDialog();
  dialog.open();
}

class PlotDialog {
  constructor() {
    this.x = axis("Across");
    this.y = axis("Down");
    this.start = h("button", { type: "submit", class: "easel-tool easel-wide easel-strong", text: "Paint the grid" });
    this.stop = tool("close", "Cancel the rest", () => this.cancel(), { wide: true });
    this.save = tool("download", "Save as PNG", () => savePlot(this.plan, this.images()), { wide: true });
    this.words = h("span", { class: "easel-quiet", role: "status" });
    this.grid = h("div", { class: "easel-plot" });
    const close = tool("close", "Close", () => this.element.close());
    this.element = h(
      "dialog",
      { class: "easel-plot-dialog", "aria-label": "X/Y plot" },
      h("header", {}, h("h3", { text: "Weight × weight" }), close),
      h("p", { class: "easel-hint", text: "Each picture has the same prompt and seed; only these weights differ. The grid goes on when this window is closed." }),
      h("form", { class: "easel-plot-form", onsubmit: (event) => this.submit(event) }, this.x.element, this.y.element, this.start),
      (this.line = h("div", { class: "easel-plot-line" }, this.words, this.stop, this.save)),
      h("div", { class: "easel-plot-scroll" }, this.grid),
    );
    this.plan = null;
    document.body.append(this.element);
    live.addEventListener("jobs", () => this.plan && this.update());
    this.update();
  }

  open() {
    const rows = stack.active();
    this.x.fill(rows, rows[0]?.key);
    this.y.fill(rows, rows[1]?.key ?? null, true);
    if (!this.element.open) this.element.showModal();
    if (!this.plan) this.start.focus();
  }

  async submit(event) {
    event.preventDefault();
    const [x, y] = [this.x.read(), this.y.read()];
    const fault = x?.fault ?? y?.fault;
    if (fault) return say(fault, { kind: "error" });
    if (!x) return say("Choose an adapter for “Across”.", { kind: "error" });
    if (y && y.key === x.key) return say("Choose two different adapters, or none for “Down”.", { kind: "error" });
    const count = x.values.length * (y?.values.length ?? 1);
    if (count > MOST) return say(`These are ${count} pictures; a grid has at most ${MOST}. Leave out some weights.`, { kind: "error" });
    const spec = await specOfForm();
    if (!spec) return;
    this.cancel();
    const seed = seedFor(spec);
    this.plan = { x, y, seed, width: spec.width ?? 512, height: spec.height ?? 512, cells: [] };
    for (const down of y?.values ?? [null]) for (const across of x.values) this.plan.cells.push({ across, down, picture: new PaintedCell(`Weights ${[across, down].filter((value) => value !== null).join(" and ")}`) });
    this.drawGrid();
    await this.submitAll(this.plan, { ...spec, conflicts: stack.resolution, seed });
  }

  // One after another: a refusal of the first is one of all.
  async submitAll(plan, spec) {
    for (const cell of plan.cells) {
      if (plan !== this.plan || plan.stopped) return;
      const weights = new Map([[plan.x.key, cell.across], ...(plan.y ? [[plan.y.key, cell.down]] : [])]);
      const adapters = stack.rows.map((row) => refOf(weights.has(row.key) ? { ...row, unet_weight: weights.get(row.key), text_weight: null } : row));
      try {
        await cell.picture.paint({ ...spec, adapters });
      } catch {
        plan.stopped = true;
      }
      this.update();
    }
  }

  cancel() {
    if (!this.plan) return;
    this.plan.stopped = true;
    for (const { picture } of this.plan.cells) picture.cancel();
  }

  drawGrid() {
    const { x, y, cells } = this.plan;
    const parts = [h("span", {}), ...x.values.map((value) => h("span", { class: "easel-plot-head", text: `${x.title} ${value}` }))];
    for (const [place, cell] of cells.entries()) {
      if (place % x.values.length === 0) parts.push(h("span", { class: "easel-plot-head", text: y ? `${y.title} ${cell.down}` : "" }));
      parts.push(cell.picture.element);
    }
    this.grid.style.setProperty("--columns", x.values.length);
    this.grid.replaceChildren(...parts);
    this.update();
  }

  images() {
    return this.plan.cells.map(({ picture }) => picture.image);
  }

  update() {
    const cells = this.plan?.cells ?? [];
    for (const { picture } of cells) picture.update();
    const painted = cells.filter(({ picture }) => picture.image).length;
    const open = !this.plan?.stopped && cells.some(({ picture }) => !picture.job || picture.open);
    this.words.textContent = this.plan ? `${painted} of ${cells.length} pictures · seed ${this.plan.seed}` : "";
    this.line.hidden = !this.plan;
    this.stop.hidden = !open;
    this.save.hidden = painted === 0;
  }
}

// One axis: which adapter, and its weights as text; read as null without an adapter, as a fault where a weight is none.
function axis(label) {
  const choice = h("select", { "aria-label": `${label}: adapter` });
  const values = h("input", { type: "text", value: "0, 0.5, 1", "aria-label": `${label}: weights`, spellcheck: "false", autocomplete: "off" });
  return {
    element: h("fieldset", {}, h("legend", { text: label }), choice, values),
    fill(rows, chosen, optional = false) {
      const options = rows.map((row) => h("option", { value: row.key, text: titleOf(row.name) }));
      choice.replaceChildren(...(optional ? [h("option", { value: "", text: "nothing" })] : []), ...options);
      choice.value = chosen ?? "";
    },
    read() {
      const row = stack.find(Number(choice.value));
      if (!row) return null;
      const words = values.value.split(/[\s,;]+/).filter(Boolean);
      const numbers = words.map(Number);
      if (!words.length) return { fault: `“${label}” has no weights: write some, such as 0, 0.5, 1.` };
      const wrong = words[numbers.findIndex((value) => !(Math.abs(value) <= MOST_WEIGHT))];
      if (wrong) return { fault: `“${wrong.slice(0, 40)}” in “${label}” is no weight: numbers from −${MOST_WEIGHT} to ${MOST_WEIGHT} are, such as 0, 0.5, 1.` };
      return { key: row.key, title: titleOf(row.name), values: [...new Set(numbers)] };
    },
  };
}
