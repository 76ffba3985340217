// Choose a finished picture: the newest of the history, or found by words.

import { api } from "./api.js";
import { h, shorten, thumbUrl, tool } from "./dom.js";
import { settled } from "./timing.js";

let dialog = null;

export function choosePicture(chosen) {
  dialog ??= new PictureDialog();
  dialog.open(chosen);
}

class PictureDialog {
  constructor() {
    this.search = h("input", { type: "search", class: "easel-select", placeholder: "Search prompts, models, settings…", "aria-label": "Search the history", autocomplete: "off", spellcheck: "false" });
    this.search.addEventListener("input", settled(() => this.load(), 180));
    this.grid = h("div", { class: "easel-picks", role: "list" });
    this.said = h("p", { class: "easel-hint", role: "status" });
    this.more = tool("plus", "More…", () => this.load(this.cursor), { wide: true });
    this.element = h(
      "dialog",
      { class: "easel-plot-dialog", "aria-label": "Choose a picture of the history" },
      h("header", {}, h("h3", { text: "Take a picture" }), tool("close", "Close", () => this.element.close())),
      this.search,
      this.said,
      h("div", { class: "easel-plot-scroll" }, this.grid, this.more),
    );
    this.turn = 0;
    document.body.append(this.element);
  }

  open(chosen) {
    this.chosen = chosen;
    this.search.value = "";
    this.element.showModal();
    this.load();
  }

  async load(cursor = null) {
    const turn = ++this.turn;
    try {
      const page = await api.searchHistory({ query: this.search.value.trim(), limit: 48, cursor });
      if (turn !== this.turn) return;
      if (!cursor) this.grid.replaceChildren();
      this.grid.append(...page.images.map((image) => this.tile(image)));
      this.cursor = page.next_cursor;
      this.more.hidden = !page.next_cursor;
      this.said.textContent = this.grid.children.length ? "" : this.search.value.trim() ? "Nothing found." : "There are no pictures yet.";
    } catch {
      this.said.textContent = "The history cannot be read now.";
    }
  }

  tile(image) {
    const name = shorten(image.spec.prompt || "no prompt", 60);
    const take = () => {
      this.element.close();
      this.chosen(image);
    };
    return h("div", { role: "listitem" }, h("button", { type: "button", class: "easel-pick", title: name, "aria-label": `Take: ${name}, seed ${image.seed}`, onclick: take }, h("img", { src: thumbUrl(image, 120), alt: "", loading: "lazy" })));
  }
}
