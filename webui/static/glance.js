// <easel-glance>: the newest picture, small, where the stage is out of sight; and a button that makes the next.

import { h, onceAFrame, pictureUrl } from "./dom.js";
import { generate } from "./generate_button.js";
import { finished, live, paints } from "./live.js";
import { RefusalPlace } from "./refusal.js";
import { stage } from "./stage.js";
import { openViewer } from "./viewer.js";

class Glance extends HTMLElement {
  connectedCallback() {
    if (!this.frame) this.build();
    this.redraw ??= onceAFrame(() => this.draw());
    live.addEventListener("jobs", this.redraw);
    this.refusal.connect();
    this.draw();
  }

  disconnectedCallback() {
    live.removeEventListener("jobs", this.redraw);
    this.refusal.disconnect();
  }

  build() {
    this.frame = h("div", { class: "easel-glance-frame" });
    this.words = h("p", { class: "easel-hint", role: "status" });
    // On a narrow page its place may be out of sight.
    this.refusal = new RefusalPlace(() => window.innerWidth <= 900 && this.scrollIntoView({ block: "nearest" }));
    const button = h("button", { type: "button", class: "easel-tool easel-wide easel-strong", text: "Generate", title: "With the prompt and settings of Text to image", onclick: generate });
    this.append(h("section", { class: "easel-glance easel-card", "aria-label": "Newest picture" }, this.frame, h("div", { class: "easel-glance-line" }, this.words, button), this.refusal.element));
  }

  draw() {
    const active = live.active().filter(paints);
    const running = active.find((job) => job.status === "running") ?? active[0];
    const preview = running ? [...(live.previews.get(running.id)?.values() ?? [])].at(-1) : null;
    const image = live.newestFirst().flatMap((job) => [...job.images].reverse()).find((one) => !live.deleted.has(one.id));
    const failed = live.newestFirst().find(paints);
    const source = preview ?? (image ? pictureUrl(image) : "");
    if (this.source !== source) {
      this.source = source;
      const picture = source ? h("img", { src: source, alt: image?.spec.prompt || "Newest picture", class: preview ? "easel-preview" : null }) : h("p", { class: "easel-hint", text: "The newest picture shows here." });
      const open = image && !preview ? h("button", { type: "button", class: "easel-picture", title: "Look at it large", onclick: () => openViewer([image], image.id) }, picture) : picture;
      this.frame.replaceChildren(open);
    }
    this.words.textContent = running ? `${Math.round(running.progress.fraction * 100)} %` : failed?.status === "failed" && finished(failed) ? failed.error.message : image ? `Seed ${stage()?.seed() ?? image.seed}` : "";
  }
}

customElements.define("easel-glance", Glance);
