// The base models of the library, known once for the whole page.

import { api } from "./api.js";
import { Asked } from "./asked.js";
import { live } from "./live.js";
import { settled } from "./timing.js";

const PAUSE = 120;

class Models extends Asked {
  constructor() {
    super();
    this.list = [];
    // Several files often come together.
    live.addEventListener("library", settled(() => this.load(), PAUSE));
  }

  async read() {
    return (await api.listModels({ quiet: true })).models;
  }

  learn(list) {
    this.list = list;
  }

  get usable() {
    return this.list.filter((view) => !view.problem);
  }

  get(id) {
    return this.list.find((view) => view.id === id) ?? null;
  }

  titleOf(id) {
    return this.get(id)?.title ?? id;
  }
}

export const models = new Models();
