// The merge beside the stack: the same prompt and seed, painted with the file and with what went into it.

import { api, specOfForm } from "./api.js";
import { h, pictureUrl, thumbUrl } from "./dom.js";
import { live } from "./live.js";
import { prompt } from "./prompt.js";
import { shelf, titleOf } from "./shelf.js";
import { openViewer } from "./viewer.js";

const LARGEST_WEIGHT = 10;

export class MergeCompare {
  // `run` answers the merge as it is known now.
  constructor(run) {
    this.run = run;
    this.cells = [];
    this.prompt = h("textarea", { rows: 2, "aria-label": "Prompt of the comparison", placeholder: "What to paint with both" });
    this.each = h("input", { type: "checkbox", role: "switch", class: "easel-switch" });
    this.start = h("button", { type: "submit", class: "easel-tool easel-wide easel-strong", text: "Paint both" });
    this.words = h("p", { class: "easel-hint", role: "status" });
    this.grid = h("div", { class: "easel-merge-compare-grid" });
    this.element = h(
      "form",
      { class: "easel-merge-compare", "aria-label": "The merge beside the stack", onsubmit: (event) => this.submit(event) },
      this.prompt,
      h("div", { class: "easel-merge-line" }, h("label", { class: "easel-merge-switch", title: "One more picture for each input by itself" }, this.each, h("span", { text: "also each input alone" })), this.start),
      this.words,
      this.grid,
    );
    live.addEventListener("jobs", () => this.cells.length && this.update());
    this.fillPrompt();
  }

  async fillPrompt() {
    const { recipe } = this.run();
    this.prompt.value = prompt.text();
    const views = await Promise.all(recipe.inputs.map((input) => shelf.learn(input.name)));
    if (this.prompt.value) return;
    this.prompt.value = views.flatMap((view) => view?.trigger_words.slice(0, 1) ?? []).join(", ");
  }

  // The inputs as a stack. Words are in the prompt already, the same for all.
  refs() {
    const { inputs, normalise } = this.run().recipe;
    const total = normalise ? inputs.reduce((sum, input) => sum + input.weight, 0) || 1 : 1;
    return inputs.map((input) => ({ name: input.name, unet_weight: within(input.weight / total), text_weight: input.text_weight === null || input.text_weight === undefined ? null : within(input.text_weight / total), blocks: input.blocks ?? [], add_trigger_words: false }));
  }

  async submit(event) {
    event.preventDefault();
    if (!this.prompt.value.trim()) return this.prompt.focus();
    const spec = await specOfForm();
    const seed = spec.seed ?? Math.floor(Math.random() * 2 ** 32);
    const refs = this.refs();
    const merged = { name: this.run().file_id, unet_weight: 1, add_trigger_words: false };
    this.cells = [cell("Stacked", refs), cell("Merged", [merged]), ...(this.each.checked ? refs.map((ref) => cell(`Only ${titleOf(ref.name)}`, [ref])) : [])];
    this.seed = seed;
    this.told = "";
    this.grid.replaceChildren(...this.cells.map((one) => one.element));
    this.update();
    for (const one of this.cells) {
      try {
        const job = await api.submitJob({ ...spec, prompt: this.prompt.value, adapters: one.refs, conflicts: "keep", seed, count: 1 });
        one.job = job.id;
        if (!live.jobs.has(job.id)) live.on_job({ job });
      } catch (error) {
        one.fault = error.message;
        break;
      }
    }
    this.update();
  }

  update() {
    this.cells.forEach((one) => this.fill(one));
    const [stacked, merged] = this.cells;
    if (stacked.image && merged.image && !this.told) {
      this.told = "…";
      this.measure(stacked.image, merged.image);
    }
    const fault = this.cells.find((one) => one.fault)?.fault;
    this.words.textContent = fault ?? [`Seed ${this.seed}`, this.told.length > 1 ? this.told : ""].filter(Boolean).join(" · ");
  }

  fill(one) {
    const job = one.job ? live.jobs.get(one.job) : null;
    one.image ??= job?.images[0] ?? null;
    const preview = job ? live.previews.get(job.id)?.get(0) : null;
    const key = one.image ? one.image.id : `${job?.status}:${preview?.length ?? 0}:${one.fault}`;
    if (key === one.key) return;
    one.key = key;
    if (one.image) one.frame.replaceChildren(h("button", { type: "button", class: "easel-picture", title: "Look at it large", onclick: () => openViewer(this.cells.map((each) => each.image).filter(Boolean), one.image.id) }, h("img", { src: thumbUrl(one.image, 320), alt: one.title })));
    else if (preview) one.frame.replaceChildren(h("img", { src: preview, alt: "", class: "easel-preview" }));
    else one.frame.replaceChildren(h("span", { class: "easel-quiet", text: job?.error?.message ?? { canceled: "left out" }[job?.status] ?? "…" }));
  }

  // How far the two pictures are from each other, pixel by pixel.
  async measure(first, second) {
    const [a, b] = await Promise.all([pixels(first), pixels(second)]);
    let sum = 0;
    let differing = 0;
    for (let place = 0; place < a.length; place += 4) {
      let moved = false;
      for (let channel = place; channel < place + 3; channel += 1) {
        const gap = a[channel] - b[channel];
        sum += gap * gap;
        moved ||= gap !== 0;
      }
      if (moved) differing += 1;
    }
    if (a.length !== b.length) this.told = "the pictures have different sizes";
    else if (!differing) this.told = "both pictures are the same, to the last pixel";
    else {
      const decibels = 10 * Math.log10((255 * 255 * (a.length / 4) * 3) / sum);
      this.told = `${decibels.toFixed(1)} dB apart: ${decibels >= 40 ? "no eye sees it" : decibels >= 28 ? "hard to see" : "they differ"}`;
    }
    this.update();
  }
}

const within = (weight) => Math.max(-LARGEST_WEIGHT, Math.min(LARGEST_WEIGHT, weight));

function cell(title, refs) {
  const frame = h("div", { class: "easel-plot-cell" });
  return { title, refs, frame, element: h("figure", {}, frame, h("figcaption", { text: title })) };
}

async function pixels(image) {
  const picture = new Image();
  picture.src = pictureUrl(image);
  await picture.decode();
  const canvas = h("canvas", { width: picture.naturalWidth, height: picture.naturalHeight });
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height).data;
}
