// The same picture without units, with each alone, and with all: what does each of them do?

import { api, specOfForm } from "./api.js";
import { controlTitle } from "./control_shelf.js";
import { units, unitOf } from "./control_units.js";
import { h, pictureUrl, thumbUrl, tool } from "./dom.js";
import { finished, live } from "./live.js";
import { stage } from "./stage.js";

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
    const seed = spec.seed ?? stage()?.seed() ?? Math.floor(Math.random() * 2 ** 32);
    const active = units.active();
    const alone = active.length > 1 ? active.map((row) => [controlTitle(row), [row]]) : [];
    const plan = { stopped: false };
    this.plan = plan;
    this.cells = [["Without", []], ...alone, [active.length > 1 ? "All together" : controlTitle(active[0]), active]].map(([title, rows]) => {
      const element = h("div", { class: "easel-plot-cell" });
      return { title, controls: rows.map(unitOf), element, figure: h("figure", {}, element, h("figcaption", { text: title })), job: null, image: null };
    });
    this.grid.replaceChildren(...this.cells.map((cell) => cell.figure));
    this.words.dataset.seed = seed;
    for (const cell of this.cells) {
      if (plan.stopped) return;
      try {
        const job = await api.submitJob({ ...spec, seed, count: 1, controls: cell.controls });
        cell.job = job.id;
        if (!live.jobs.has(job.id)) live.on_job({ job });
      } catch {
        // The sentence was said; a refusal of one is often one of all.
        plan.stopped = true;
      }
      this.update();
    }
  }

  cancel() {
    if (this.plan) this.plan.stopped = true;
    for (const { job } of this.cells) if (job && live.jobs.has(job) && !finished(live.jobs.get(job))) api.cancelJob(job, { quiet: true }).catch(() => {});
  }

  update() {
    if (!this.element.open) return;
    for (const cell of this.cells) fill(cell);
    const open = this.cells.some(({ job }) => job && live.jobs.has(job) && !finished(live.jobs.get(job)));
    const painted = this.cells.filter((cell) => cell.image).length;
    this.words.textContent = this.cells.length ? `${painted} of ${this.cells.length} pictures · seed ${this.words.dataset.seed}` : `${units.active().length > 1 ? units.active().length + 2 : 2} pictures`;
    this.stop.hidden = !open;
    this.start.disabled = open || !units.active().length;
  }
}

function fill(cell) {
  const job = cell.job ? live.jobs.get(cell.job) : null;
  cell.image ??= job?.images[0] ?? null;
  const preview = job ? live.previews.get(job.id)?.get(0) : null;
  const key = cell.image?.id ?? `${job?.status}:${preview?.length ?? 0}`;
  if (cell.key === key) return;
  cell.key = key;
  if (cell.image) cell.element.replaceChildren(h("a", { href: pictureUrl(cell.image), target: "_blank", title: "Open the picture" }, h("img", { src: thumbUrl(cell.image, 240), alt: cell.title })));
  else if (preview) cell.element.replaceChildren(h("img", { src: preview, alt: "", class: "easel-preview" }));
  else cell.element.replaceChildren(h("span", { class: "easel-quiet", text: job?.error?.message ?? (job?.status === "canceled" ? "left out" : "…") }));
}
