// How much room loaded models may take, and which of them leaves first when it is full.

import { h } from "./dom.js";
import { hasGpu, memory } from "./memory_state.js";
import { POLICIES, gigabytes, inWords } from "./memory_words.js";

const GIB = 1024 ** 3;

export class Room {
  constructor() {
    this.slider = h("input", { type: "range", min: 0, step: 0.25, "aria-label": "Room for loaded models in GB; 0 chooses by itself", oninput: () => this.say(), onchange: () => this.set(Number(this.slider.value)) });
    this.words = h("output", { class: "easel-room-words" });
    this.auto = h("button", { type: "button", class: "easel-mini", text: "Automatic", title: "70 % of the free VRAM, or half of the free RAM on a machine without a GPU", onclick: () => this.set(0) });
    this.used = h("p", { class: "easel-hint" });
    this.policy = h("select", { "aria-label": "What leaves first", onchange: () => this.choose() }, ...Object.entries(POLICIES).map(([policy, [words]]) => h("option", { value: policy, text: words })));
    this.meaning = h("p", { class: "easel-hint" });
    this.element = h(
      "section",
      { class: "easel-card easel-memory-card", "aria-label": "Room for models" },
      h("header", {}, h("h3", { text: "Room for models" })),
      h("div", { class: "easel-room-line" }, h("span", { class: "easel-weight-track" }, this.slider), this.words, this.auto),
      this.used,
      h("label", { class: "easel-room-policy" }, h("span", { text: "When it is full, first leaves" }), this.policy),
      this.meaning,
    );
  }

  update(view) {
    this.view = view;
    const total = gigabytes(hasGpu(view) ? view.vram_total : view.ram_total);
    const step = total < 8 ? 0.1 : total < 64 ? 0.25 : 0.5;
    this.slider.step = step;
    this.slider.max = Math.max(step, Math.floor(total / step) * step);
    // Not while a person moves it.
    if (!this.moving) this.slider.value = view.pool_gb;
    this.say();
    this.slider.disabled = this.policy.disabled = !view.engine_answers;
    this.auto.disabled = !view.engine_answers || view.pool_gb === 0;
    if (document.activeElement !== this.policy) this.policy.value = view.policy;
    this.meaning.textContent = POLICIES[view.policy]?.[1] ?? "";
    const rest = view.rest_limit ? ` ${inWords(view.rest_used)} of ${inWords(view.rest_limit)} rest in RAM beside it.` : "";
    this.used.textContent = view.pool_limit ? `${inWords(view.pool_used)} of ${inWords(view.pool_limit)} are used.${rest} What a picture takes while it is painted comes on top.` : "";
  }

  say() {
    const value = Number(this.slider.value);
    this.moving = this.view && value !== this.view.pool_gb && document.activeElement === this.slider;
    const limit = this.view?.pool_limit ?? 0;
    this.words.textContent = value > 0 ? `${value.toFixed(value % 1 ? 2 : 0).replace(/(\.\d)0$/, "$1")} GB` : limit && this.view.pool_gb === 0 ? `automatic: ${inWords(limit)}` : "automatic";
    this.slider.setAttribute("aria-valuetext", this.words.textContent);
    const part = Number(this.slider.max) ? (100 * value) / Number(this.slider.max) : 0;
    const track = this.slider.parentElement;
    track.style.setProperty("--from", "0%");
    track.style.setProperty("--to", `${part}%`);
  }

  async set(value) {
    this.moving = false;
    const was = this.view?.pool_limit ?? 0;
    const less = value > 0 && value * GIB < Math.min(was, this.view?.pool_used ?? 0);
    await memory.set({ pool_gb: value }, value > 0 ? `Models may take ${value} GB.${less ? " What is too much leaves now." : ""}` : "How much models may take is chosen by itself.");
  }

  choose() {
    const policy = this.policy.value;
    this.meaning.textContent = POLICIES[policy][1];
    memory.set({ policy }, `When the room is full, first leaves: ${POLICIES[policy][0].toLowerCase()}.`);
  }
}
