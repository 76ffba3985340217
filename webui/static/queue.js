// The queue panel: all my jobs that wait or run, in order, each with a way to cancel it.

import { cancelJob, isEnding } from "./cancel.js";
import { arrange, h, onceAFrame, seconds, shorten, tool } from "./dom.js";
import { live } from "./live.js";

class Queue extends HTMLElement {
  connectedCallback() {
    if (!this.list) {
      this.heading = h("h3");
      this.list = h("ol", { class: "easel-jobs" });
      this.all = h("button", {
        type: "button",
        class: "easel-tool easel-wide",
        text: "Cancel all",
        onclick: () => live.active().forEach(cancelJob),
      });
      this.panel = h("section", { class: "easel-queue easel-card", "aria-label": "Queue", hidden: true }, h("header", {}, this.heading, this.all), this.list);
      this.append(this.panel);
    }
    this.redraw ??= onceAFrame(() => this.draw());
    live.addEventListener("jobs", this.redraw);
    this.draw();
  }

  disconnectedCallback() {
    live.removeEventListener("jobs", this.redraw);
  }

  draw() {
    const jobs = live.active();
    this.panel.hidden = jobs.length === 0;
    this.all.hidden = jobs.length < 2;
    this.heading.textContent = jobs.length === 1 ? "1 job" : `${jobs.length} jobs`;
    const known = new Map([...this.list.children].map((row) => [row.dataset.job, row]));
    const rows = jobs.map((job) => {
      const row = known.get(job.id) ?? this.row(job);
      this.fill(row, job);
      return row;
    });
    arrange(this.list, rows);
  }

  row(job) {
    return h(
      "li",
      { "data-job": job.id },
      h("span", { class: "easel-job-text", title: job.spec.prompt, text: shorten(job.spec.prompt || "no prompt", 70) }),
      h("span", { class: "easel-job-state" }),
      h("span", { class: "easel-meter", "aria-hidden": "true" }, h("i")),
      tool("close", `Cancel “${shorten(job.spec.prompt, 30)}”`, () => cancelJob(live.jobs.get(job.id))),
    );
  }

  fill(row, job) {
    const { progress, spec } = job;
    const parts = [];
    if (isEnding(job)) parts.push("ending");
    else if (job.status === "queued") parts.push(job.position === 0 ? "next" : job.position ? `${job.position} before it` : "waiting");
    else parts.push(`${Math.round(progress.fraction * 100)} %`);
    if (spec.count > 1) parts.push(`${progress.images_done} of ${spec.count}`);
    if (job.status === "running" && progress.eta_seconds !== null) parts.push(`${seconds(progress.eta_seconds)} left`);
    row.dataset.status = job.status;
    row.querySelector(".easel-job-state").textContent = parts.join(" · ");
    row.querySelector(".easel-meter i").style.transform = `scaleX(${progress.fraction})`;
  }
}

customElements.define("easel-queue", Queue);
