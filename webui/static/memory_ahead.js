// Load a model before a picture needs it: which one, and what is still to come.

import { h, tool } from "./dom.js";
import { memory } from "./memory_state.js";
import { ModelChoice } from "./model_choice.js";
import { models } from "./models.js";

export class MemoryAhead {
  constructor() {
    this.choice = new ModelChoice("Model to load ahead");
    this.load = tool("download", "Load now", () => this.ask(), { wide: true });
    this.load.title = "Reads all parts of the model now, so that the first picture with it does not wait";
    this.coming = h("span", { class: "easel-quiet", role: "status" });
    this.element = h("div", { class: "easel-memory-ahead", hidden: true }, this.choice.element, this.load, this.coming);
    models.addEventListener("change", () => this.showModels());
    this.showModels();
  }

  showModels() {
    this.element.hidden = models.usable.length === 0;
  }

  update(view) {
    this.load.disabled = this.choice.element.disabled = !view.engine_answers;
    const coming = view.ahead ?? [];
    const words = coming.length ? `${coming.join(", ")} ${coming.length === 1 ? "is" : "are"} being loaded …` : "";
    if (this.coming.textContent !== words) this.coming.textContent = words;
  }

  async ask() {
    const { chosen } = this.choice;
    if (chosen) await memory.preload(chosen.id, `${chosen.title} is loaded ahead.`);
  }
}
