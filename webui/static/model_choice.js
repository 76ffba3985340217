// A choice among the models of the library that can be used.

import { h } from "./dom.js";
import { models } from "./models.js";

export class ModelChoice {
  // `usual`: the id of the one that is chosen at first, where it is there.
  constructor(label, { usual = null } = {}) {
    this.usual = usual;
    this.element = h("select", { "aria-label": label });
    models.addEventListener("change", () => this.fill());
    this.fill();
  }

  fill() {
    const wanted = this.element.value || this.usual;
    this.element.replaceChildren(...models.usable.map(({ id, title }) => h("option", { value: id, text: title })));
    if (models.usable.some(({ id }) => id === wanted)) this.element.value = wanted;
  }

  get chosen() {
    return models.get(this.element.value);
  }
}
