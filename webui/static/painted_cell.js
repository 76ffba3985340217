// A small place for one picture of a series: a preview while it is painted, then the picture, which opens large.

import { api } from "./api.js";
import { h, pictureUrl, thumbUrl } from "./dom.js";
import { finished, live } from "./live.js";

const WIDTH = 240;

export class PaintedCell {
  // `alt`: what the picture is of. With `why` a failure is written out where the picture would be.
  constructor(alt, { why = false } = {}) {
    Object.assign(this, { alt, why });
    this.job = null;
    this.image = null;
    this.element = h("div", { class: "easel-plot-cell" });
    this.update();
  }

  async paint(spec, options) {
    const job = await api.submitJob({ ...spec, count: 1 }, options);
    this.job = job.id;
    live.learn(job);
    this.update();
  }

  // The job as it is known; of one that is long over nothing is known any more.
  get view() {
    return live.jobs.get(this.job) ?? null;
  }

  // Whether it is in the queue or being painted.
  get open() {
    return this.view !== null && !finished(this.view);
  }

  cancel() {
    if (this.open) api.cancelJob(this.job, { quiet: true }).catch(() => {});
  }

  update() {
    const { view } = this;
    this.image ??= view?.images[0] ?? null;
    const preview = live.previews.get(this.job)?.get(0);
    const state = this.image ? "done" : (view?.status ?? "waiting");
    const key = this.image?.id ?? `${state}:${preview?.length ?? 0}`;
    if (this.key === key) return;
    this.key = key;
    this.element.dataset.state = state;
    this.element.replaceChildren(this.content(state, preview));
  }

  content(state, preview) {
    if (this.image) return h("a", { href: pictureUrl(this.image), target: "_blank", title: "Open the picture" }, h("img", { src: thumbUrl(this.image, WIDTH), alt: this.alt }));
    if (preview) return h("img", { src: preview, alt: "", class: "easel-preview" });
    const fault = this.view?.error?.message ?? "";
    return h("span", { class: "easel-quiet", title: fault, text: (this.why && fault) || ({ failed: "failed", canceled: "left out" }[state] ?? "…") });
  }
}
