// Load a model before a picture needs it: which one, and what is still to come.

import { api } from "./api.js";
import { h, tool } from "./dom.js";
import { live } from "./live.js";
import { memory } from "./memory_state.js";

export class MemoryAhead {
  constructor() {
    this.choice = h("select", { "aria-label": "Model to load ahead" });
    this.load = tool("download", "Load now", () => this.ask(), { wide: true });
    this.load.title = "Reads all parts of the model now, so that the first picture with it does not wait";
    this.coming = h("span", { class: "easel-quiet", role: "status" });
    this.element = h("div", { class: "easel-memory-ahead", hidden: true }, this.choice, this.load, this.coming);
    live.addEventListener("library", () => this.look());
    this.look();
  }

  async look() {
    try {
      const { models } = await api.listModels({ quiet: true });
      this.fill(models.filter((model) => !model.problem));
    } catch {
      // The engine does not answer yet: the next view of the memory asks again.
      this.known = false;
    }
  }

  fill(models) {
    this.known = true;
    this.element.hidden = models.length === 0;
    const chosen = this.choice.value;
    this.choice.replaceChildren(...models.map(({ id, title }) => h("option", { value: id, text: title })));
    if (models.some(({ id }) => id === chosen)) this.choice.value = chosen;
  }

  update(view) {
    if (this.known === false && view.engine_answers) {
      this.known = null;
      this.look();
    }
    this.load.disabled = this.choice.disabled = !view.engine_answers;
    const coming = view.ahead ?? [];
    const words = coming.length ? `${coming.join(", ")} ${coming.length === 1 ? "is" : "are"} being loaded …` : "";
    if (this.coming.textContent !== words) this.coming.textContent = words;
  }

  async ask() {
    const title = this.choice.selectedOptions[0]?.textContent;
    if (title) await memory.preload(this.choice.value, `${title} is loaded ahead.`);
  }
}
