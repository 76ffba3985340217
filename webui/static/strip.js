// The strip under the stage: what is being painted and what was made, small; a click shows it large.

import { h, thumbUrl } from "./dom.js";
import { finished, live, paints } from "./live.js";

const LENGTH = 24;

export class Strip {
  // `choose({job, index})` is called with what was clicked.
  constructor(choose) {
    this.choose = choose;
    this.element = h("div", { class: "easel-strip", role: "group", "aria-label": "Recent pictures" });
  }

  // `shown`: the {job, index} on the stage. `skipped`: "job:index" of pictures that are not made.
  draw(shown, skipped) {
    const slots = slotsNow(skipped);
    this.element.hidden = slots.length < 2;
    const key = slots.map((slot) => `${slot.job.id}:${slot.index}:${slot.image?.id ?? ""}:${slot.state}`).join("|");
    if (this.element.dataset.key !== key) {
      this.element.dataset.key = key;
      const had = document.activeElement?.dataset?.slot;
      this.element.replaceChildren(...slots.map((slot) => this.button(slot)));
      if (had) this.element.querySelector(`[data-slot="${CSS.escape(had)}"]`)?.focus();
    }
    for (const [place, slot] of slots.entries()) {
      const button = this.element.children[place];
      button.setAttribute("aria-pressed", String(slot.job.id === shown.job?.id && slot.index === shown.index));
      const preview = live.previews.get(slot.job.id)?.get(slot.index);
      if (!slot.image && preview) {
        let picture = button.querySelector("img");
        if (!picture) button.replaceChildren((picture = h("img", { alt: "", class: "easel-preview" })));
        picture.src = preview;
      }
    }
  }

  button({ job, index, image, state }) {
    const label = image ? `Picture, seed ${image.seed}` : "Being painted";
    const button = h("button", {
      type: "button",
      class: "easel-thumb",
      "data-state": state,
      "data-slot": `${job.id}:${index}`,
      "aria-label": label,
      title: image ? job.spec.prompt : label,
      onclick: () => this.choose({ job: job.id, index }),
    });
    if (image) button.append(h("img", { src: thumbUrl(image, 72), alt: "", loading: "lazy" }));
    return button;
  }
}

function slotsNow(skipped) {
  const slots = [];
  // What is being painted first, then what was made; what waits stands in the queue panel.
  const jobs = live.newestFirst().filter(paints);
  for (const job of [...jobs.filter((one) => one.status === "running"), ...jobs.filter(finished)]) {
    const images = new Map(imagesOf(job).map((image) => [image.job_index, image]));
    const open = job.status === "running";
    for (let index = 0; index < job.spec.count && slots.length < LENGTH; index += 1) {
      const image = images.get(index);
      if (image) slots.push({ job, index, image, state: "done" });
      else if (open && !skipped.has(`${job.id}:${index}`)) slots.push({ job, index, state: job.status });
    }
  }
  return slots;
}

export function imagesOf(job) {
  return job.images.filter((image) => !live.deleted.has(image.id));
}
