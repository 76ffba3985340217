// The stage: what is being painted now, or the picture last made, large; beneath it all recent pictures.

import { api } from "./api.js";
import { cancelJob, isEnding } from "./cancel.js";
import { h, onceAFrame, pictureUrl, seconds, tool } from "./dom.js";
import { failureCard } from "./failure_card.js";
import { finished, live, paints } from "./live.js";
import { applyScaling, pictureTools, scaling } from "./pictures.js";
import { dismissRefusal, RefusalPlace } from "./refusal.js";
import { imagesOf, Strip } from "./strip.js";
import { openViewer } from "./viewer.js";

const STAGES = {
  waiting: "Waiting for the engine",
  loading: "Loading the model",
  encoding: "Reading the prompt",
  denoising: "Painting",
  decoding: "Finishing",
  upscaling: "Enlarging",
  merging: "Merging",
  saving: "Saving",
  finished: "Done",
};

class Stage extends HTMLElement {
  constructor() {
    super();
    // Which picture is on the stage: {job, index}; null follows whatever is newest.
    this.chosen = null;
    this.skipped = new Set();
    this.key = "";
  }

  connectedCallback() {
    if (!this.canvas) this.build();
    this.redraw ??= onceAFrame(() => this.draw());
    live.addEventListener("jobs", this.redraw);
    this.refusal.connect();
    live.addEventListener("submitted", (this.onSubmitted = () => this.onQueued()));
    Stage.current = this;
    this.draw();
  }

  disconnectedCallback() {
    live.removeEventListener("jobs", this.redraw);
    this.refusal.disconnect();
    live.removeEventListener("submitted", this.onSubmitted);
  }

  build() {
    // What the studio did not take stands above the picture that goes on.
    this.refusal = new RefusalPlace(() => window.innerWidth <= 900 && this.scrollIntoView({ block: "nearest" }));
    this.canvas = h("div", { class: "easel-canvas" });
    this.bar = h("div", { class: "easel-meter", role: "progressbar", "aria-label": "Progress", "aria-valuemin": 0, "aria-valuemax": 100 }, h("i"));
    this.words = h("span", { class: "easel-words" });
    this.skip = tool("skip", "Skip this picture", () => this.skipOne(), { wide: true });
    this.cancel = tool("close", "Cancel", () => cancelJob(this.shown?.job), { wide: true });
    this.cancel.classList.add("easel-cancel");
    this.progress = h("div", { class: "easel-progress" }, this.bar, h("div", { class: "easel-progress-line" }, this.words, this.skip, this.cancel));
    this.caption = h("div", { class: "easel-caption" });
    this.notices = h("ul", { class: "easel-notices" });
    this.strip = new Strip((slot) => {
      dismissRefusal();
      this.chosen = slot;
      this.redraw();
    });
    this.append(h("section", { class: "easel-stage easel-card", "aria-label": "Stage" }, this.refusal.element, this.canvas, this.progress, this.caption, this.notices, this.strip.element));
  }

  follow() {
    this.chosen = null;
    dismissRefusal();
    this.redraw();
  }

  // Something was queued from the form: on a narrow page the stage may be out of sight.
  onQueued() {
    this.follow();
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (window.innerWidth <= 900) this.scrollIntoView({ block: "nearest", behavior: calm ? "auto" : "smooth" });
  }

  // What to show: the picture that was chosen, else the one being painted, else the newest.
  pick() {
    if (this.chosen) {
      const job = live.jobs.get(this.chosen.job);
      if (job) return { job, index: this.chosen.index };
      this.chosen = null;
    }
    const active = live.active().filter(paints);
    const running = active.find((job) => job.status === "running") ?? active[0];
    if (running) return { job: running, index: this.firstOpen(running) };
    const newest = live.newestFirst().filter(paints).find((job) => job.status === "failed" || imagesOf(job).length);
    if (!newest) return null;
    const images = imagesOf(newest);
    return { job: newest, index: images.length ? images[images.length - 1].job_index : 0 };
  }

  firstOpen(job) {
    const done = new Set(job.images.map((image) => image.job_index));
    for (let index = 0; index < job.spec.count; index += 1) {
      if (!done.has(index) && !this.skipped.has(`${job.id}:${index}`)) return index;
    }
    return job.spec.count - 1;
  }

  draw() {
    this.shown = this.pick();
    const { job, index } = this.shown ?? {};
    const image = job ? imagesOf(job).find((known) => known.job_index === index) : null;
    this.drawCanvas(job, index, image);
    this.drawProgress(job);
    this.drawCaption(image);
    this.drawNotices(job);
    this.strip.draw({ job, index }, this.skipped);
  }

  drawCanvas(job, index, image) {
    const preview = job ? live.previews.get(job.id)?.get(index) : null;
    const failure = job?.status === "failed" && !image ? job.error : null;
    const kind = failure ? "error" : image ? "image" : preview ? "preview" : job && !finished(job) ? "waiting" : "empty";
    const key = `${kind}:${job?.id ?? ""}:${index ?? ""}:${image?.id ?? ""}:${failure?.code ?? ""}:${failure?.message ?? ""}`;
    this.canvas.dataset.kind = kind;
    if (key !== this.key) {
      this.key = key;
      this.canvas.replaceChildren(this.content(kind, job, image, failure));
    }
    if (kind === "preview") this.canvas.querySelector("img").src = preview;
  }

  content(kind, job, image, failure) {
    if (kind === "error") return failureCard(failure);
    if (kind === "image") {
      const picture = h("img", { src: pictureUrl(image), alt: image.spec.prompt || "Picture without a prompt", width: image.width, height: image.height });
      fitPicture(picture, image.width, image.height);
      return h("button", { type: "button", class: "easel-picture", title: "Look at it large", onclick: () => openViewer(recentImages(), image.id) }, picture);
    }
    if (kind === "preview") {
      const picture = h("img", { class: "easel-preview", alt: "Preview of the picture being painted" });
      fitPicture(picture, job.spec.width ?? 512, job.spec.height ?? 512);
      return picture;
    }
    if (kind === "waiting") {
      const frame = h("div", { class: "easel-frame" }, h("span", { class: "easel-brush", "aria-hidden": "true" }));
      fitPicture(frame, job.spec.width ?? 512, job.spec.height ?? 512);
      return frame;
    }
    return h("div", { class: "easel-empty" }, h("span", { class: "easel-mark easel-mark-large", "aria-hidden": "true" }), h("h3", { text: "An empty canvas" }), h("p", { text: "Write what you want to see, or take an example, and press Generate. The picture forms here." }));
  }

  drawProgress(job) {
    const running = job && !finished(job);
    this.progress.hidden = !running;
    if (!running) return;
    const { progress, spec } = job;
    const percent = Math.round(progress.fraction * 100);
    const moves = progress.fraction >= (this.fraction ?? 0);
    this.fraction = progress.fraction;
    this.bar.firstChild.style.transitionDuration = moves ? "" : "0s";
    this.bar.firstChild.style.transform = `scaleX(${progress.fraction})`;
    this.bar.classList.toggle("easel-unsure", job.status === "queued" || ["loading", "encoding"].includes(progress.stage));
    this.bar.setAttribute("aria-valuenow", percent);
    const words = [job.status === "queued" ? place(job) : STAGES[progress.stage]];
    if (progress.stage === "denoising" && progress.steps) words.push(`step ${progress.step} of ${progress.steps}`);
    if (spec.count > 1) words.push(`picture ${Math.min(progress.images_done + 1, spec.count)} of ${spec.count}`);
    if (job.status === "running" && progress.eta_seconds !== null) words.push(`${seconds(progress.eta_seconds)} left`);
    const ending = isEnding(job);
    this.words.textContent = ending ? "Ending · what is being worked out is finished first" : words.join(" · ");
    this.skip.hidden = spec.count < 2 || ending;
    this.cancel.disabled = ending;
    this.cancel.lastChild.textContent = ending ? "Cancelling…" : spec.count > 1 ? "Cancel all" : "Cancel";
  }

  drawCaption(image) {
    const key = image ? `${image.id}:${image.favourite}:${scaling()}` : "";
    if (this.caption.dataset.key === key) return;
    this.caption.dataset.key = key;
    if (!key) return this.caption.replaceChildren();
    const facts = [`Seed ${image.seed}`, `${image.width} × ${image.height}`, image.seconds ? seconds(image.seconds) : ""];
    this.caption.replaceChildren(
      h("p", { class: "easel-facts", text: facts.filter(Boolean).join("  ·  ") }),
      pictureTools(image, { after: (what) => what === "deleted" && this.follow() }),
    );
    if (image.width < 256 && image.height < 256) this.caption.lastChild.prepend(this.scalingTool());
  }

  scalingTool() {
    const pixels = scaling() === "pixels";
    return tool("pixels", pixels ? "Show it smooth" : "Show its pixels", () => {
      applyScaling(pixels ? "smooth" : "pixels");
      this.redraw();
    }, { pressed: pixels });
  }

  drawNotices(job) {
    const notices = job ? job.notices : [];
    const key = notices.map((notice) => notice.message).join("\n");
    if (this.notices.dataset.key === key) return;
    this.notices.dataset.key = key;
    this.notices.replaceChildren(...notices.map((notice) => h("li", { "data-level": notice.level, text: notice.message })));
  }

  skipOne() {
    const { job, index } = this.shown ?? {};
    if (!job) return;
    this.skipped.add(`${job.id}:${index}`);
    this.chosen = null;
    api.skipPicture(job.id, index).catch(() => {});
    this.redraw();
  }

  seed() {
    const { job, index } = this.shown ?? {};
    return imagesOf(job ?? { images: [] }).find((image) => image.job_index === index)?.seed ?? recentImages()[0]?.seed ?? null;
  }
}

function place(job) {
  if (job.position === null || job.position === undefined) return "Waiting in the queue";
  return job.position === 0 ? "Next in the queue" : `Number ${job.position + 1} in the queue`;
}

// The picture as large as the stage allows; small ones grow, but not without end.
function fitPicture(element, width, height, longest = 640) {
  element.style.setProperty("--ratio", String(width / height));
  element.style.setProperty("--longest", `${Math.max(longest, Math.min(Math.max(width, height), 1400))}px`);
}

function recentImages() {
  return live.newestFirst().flatMap((job) => imagesOf(job));
}

export const stage = () => Stage.current ?? null;
// The seed for a series of pictures: the form's, else that of the picture on the stage.
export const seedFor = (spec) => spec.seed ?? stage()?.seed() ?? Math.floor(Math.random() * 2 ** 32);
customElements.define("easel-stage", Stage);
