// What is known of adapters: views of the library by every name that asked for them.

import { api } from "./api.js";

class Shelf {
  constructor() {
    this.views = new Map();
    this.asked = new Map();
  }

  get(name) {
    return this.views.get(name) ?? null;
  }

  know(view) {
    this.views.set(view.id, view);
  }

  // Ask the library for a name once; null where there is no such adapter.
  learn(name) {
    if (this.views.get(name)) return Promise.resolve(this.views.get(name));
    if (!this.asked.has(name)) {
      const answer = api.getAdapter(name, { quiet: true }).then(
        ({ view }) => {
          this.views.set(name, view);
          this.know(view);
          return view;
        },
        (error) => {
          this.asked.delete(name);
          if (error.code === "adapter_unknown") this.views.set(name, null);
          return null;
        },
      );
      this.asked.set(name, answer);
    }
    return this.asked.get(name);
  }

  // Files came or went: what is known may be wrong.
  forget() {
    this.asked.clear();
    for (const [name, view] of this.views) if (!view) this.views.delete(name);
  }

  missing(name) {
    return this.views.has(name) && this.views.get(name) === null;
  }
}

export const shelf = new Shelf();
// The title; where other adapters have the same, the file's name beside it.
export const fullTitle = (view) => (view.shared_title ? `${view.title} (${view.id})` : view.title);
export const titleOf = (name) => (shelf.get(name) ? fullTitle(shelf.get(name)) : "") || name;
