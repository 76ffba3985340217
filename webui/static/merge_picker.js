// A field that finds adapters or models by words and hands over the one that is picked.

import { adapterPicture } from "./adapter_picture.js";
import { api } from "./api.js";
import { h, icon } from "./dom.js";
import { familyName } from "./family.js";
import { models } from "./models.js";
import { fullTitle, shelf } from "./shelf.js";
import { bytes } from "./size.js";
import { settled } from "./timing.js";

const MOST = 30;
let numbers = 0;

const SOURCES = {
  adapter: async (query) => {
    const page = await api.listAdapters({ query, limit: MOST }, { quiet: true });
    page.adapters.forEach((view) => shelf.know(view));
    return page.adapters;
  },
  model: async (query) => {
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    if (!models.loaded) await models.load();
    return models.list.filter((view) => words.every((word) => `${view.title} ${view.id} ${familyName(view.family)}`.toLowerCase().includes(word))).slice(0, MOST);
  },
};
const EMPTY = {
  adapter: "No adapter has all these words in its name, trigger words or tags.",
  model: "No model has all these words in its name.",
};

export class Picker {
  // `pick` is called with a view of the library; `keep`: the field goes on showing what was picked.
  constructor({ kind, label, placeholder, title = null, pick, keep = false, taken = () => false }) {
    Object.assign(this, { kind, pick, keep, taken });
    this.id = `easel-picker-${++numbers}`;
    this.views = [];
    this.at = -1;
    this.field = h("input", { type: "text", role: "combobox", "aria-label": label, "aria-expanded": "false", "aria-autocomplete": "list", "aria-controls": this.id, placeholder, title, autocomplete: "off", spellcheck: "false" });
    this.list = h("ul", { id: this.id, class: "easel-picker-list", role: "listbox", "aria-label": label, hidden: true });
    this.element = h("div", { class: "easel-picker" }, icon("search"), this.field, this.list);
    this.later = settled(() => this.look(), 140);
    this.field.addEventListener("input", () => {
      this.typed = true;
      this.later();
    });
    this.field.addEventListener("focus", () => this.field.select());
    this.field.addEventListener("click", () => this.list.hidden && this.look());
    this.field.addEventListener("keydown", (event) => this.onKey(event));
    this.element.addEventListener("focusout", (event) => !this.element.contains(event.relatedTarget) && this.close());
    // The focus stays in the field while one clicks in the list.
    this.list.addEventListener("pointerdown", (event) => event.preventDefault());
  }

  show(name, view) {
    this.name = name;
    if (document.activeElement !== this.field || !this.typed) this.field.value = view ? fullTitle(view) : (name ?? "");
  }

  async look() {
    const turn = (this.turn = (this.turn ?? 0) + 1);
    const query = this.typed ? this.field.value.trim() : "";
    let views;
    let words = EMPTY[this.kind];
    try {
      views = await SOURCES[this.kind](query);
    } catch (error) {
      views = [];
      words = error.message;
    }
    if (turn !== this.turn || !this.element.contains(document.activeElement)) return;
    this.query = query;
    if (!views.length && !query && words === EMPTY[this.kind]) words = this.kind === "adapter" ? "There are no adapters yet: put files into models/loras." : "There are no models yet.";
    this.views = views;
    this.at = -1;
    this.list.replaceChildren(...(views.length ? views.map((view, place) => this.option(view, place)) : [h("li", { class: "easel-hint", text: words })]));
    this.open(true);
  }

  option(view, place) {
    const taken = this.taken(view.id);
    const facts = this.kind === "adapter" ? [familyName(view.family), view.kind, view.rank ? `rank ${view.rank}` : "", bytes(view.size_bytes)] : [familyName(view.family), view.dtype, bytes(view.size_bytes)];
    const told = [view.shared_title ? view.id : "", ...(view.problem ? ["cannot be used"] : taken ? ["is in the list"] : facts)];
    const made = h(
      "li",
      { id: `${this.id}-${place}`, role: "option", "aria-selected": "false", "aria-disabled": String(Boolean(view.problem || taken)), title: view.problem || null, onclick: () => this.take(place) },
      this.kind === "adapter" ? h("span", { class: "easel-picker-picture" }, adapterPicture(view)) : null,
      h("span", { class: "easel-picker-words" }, h("strong", { text: view.title }), h("small", { text: told.filter(Boolean).join(" · ") })),
    );
    return made;
  }

  take(place) {
    const view = this.views[place];
    if (!view || view.problem || this.taken(view.id)) return;
    this.typed = false;
    this.field.value = this.keep ? fullTitle(view) : "";
    this.close();
    this.pick(view);
  }

  onKey(event) {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (this.list.hidden) return this.look();
      const count = this.views.length;
      if (count) this.mark((this.at + (event.key === "ArrowDown" ? 1 : -1) + count) % count);
    } else if (event.key === "Enter" && (this.typed || !this.list.hidden)) {
      event.preventDefault();
      this.enter();
    } else if (event.key === "Escape" && !this.list.hidden) {
      event.preventDefault();
      event.stopPropagation();
      this.close();
    }
  }

  // What is marked; otherwise the first match of what was typed that can be taken, looked up first where the list is older.
  async enter() {
    const typed = this.typed ? this.field.value.trim() : "";
    if (this.list.hidden || this.query !== typed) {
      this.later.cancel();
      await this.look();
      if (this.list.hidden || this.query !== typed) return;
    }
    if (this.at >= 0) return this.take(this.at);
    if (typed || this.views.length === 1) this.take(this.views.findIndex((view) => !view.problem && !this.taken(view.id)));
  }

  mark(place) {
    this.at = place;
    [...this.list.children].forEach((item, index) => item.setAttribute("aria-selected", String(index === place)));
    const chosen = this.list.children[place];
    this.field.setAttribute("aria-activedescendant", chosen.id);
    chosen.scrollIntoView({ block: "nearest" });
  }

  open(on) {
    this.list.hidden = !on;
    this.field.setAttribute("aria-expanded", String(on));
    if (!on) this.field.removeAttribute("aria-activedescendant");
  }

  close() {
    this.turn = (this.turn ?? 0) + 1;
    this.later.cancel();
    if (this.typed && this.keep) this.show(this.name, this.kind === "adapter" ? shelf.get(this.name) : null);
    this.typed = false;
    this.open(false);
  }
}
