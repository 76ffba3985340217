// The history: all pictures, newest first, found by words; more arrive as one scrolls.

import { api } from "./api.js";
import { h, icon, shorten, thumbUrl, tool } from "./dom.js";
import { live } from "./live.js";
import { deletePictures, toggleFavourite } from "./pictures.js";
import { say } from "./say.js";
import { openViewer } from "./viewer.js";

const PAGE = 60;
// More than any prompt; the studio refuses it too.
const LONGEST_SEARCH = 2000;

const pictures = (count) => (count === 1 ? "1 picture" : `${count.toLocaleString()} pictures`);

// What a rebuild found, in one sentence each.
function rebuiltInWords({ count, returned, removed }) {
  const parts = [
    count && `${pictures(count)} read in from ${count === 1 ? "its file" : "their files"}.`,
    returned && `${pictures(returned)} back in the list.`,
    removed && `${pictures(removed)} taken out of the list: ${removed === 1 ? "its file is" : "their files are"} gone.`,
  ].filter(Boolean);
  return parts.join(" ") || "All pictures in the outputs folder are known already.";
}

class History extends HTMLElement {
  constructor() {
    super();
    this.images = [];
    this.cursor = null;
    this.asked = 0;
    this.favourite = false;
    this.selected = new Set();
    this.stale = true;
  }

  connectedCallback() {
    if (!this.grid) this.build();
    this.onImage = ({ detail }) => this.arrived(detail);
    this.onHistory = ({ detail }) => this.changed(detail);
    this.onMarked = ({ detail }) => this.marked(detail);
    this.onConnected = () => live.connected && this.stale && this.reload();
    live.addEventListener("image", this.onImage);
    live.addEventListener("history", this.onHistory);
    live.addEventListener("marked", this.onMarked);
    live.addEventListener("engine", this.onConnected);
    if (live.connected) this.reload();
  }

  disconnectedCallback() {
    for (const [kind, listener] of [["image", this.onImage], ["history", this.onHistory], ["marked", this.onMarked], ["engine", this.onConnected]]) {
      live.removeEventListener(kind, listener);
    }
  }

  build() {
    this.search = h("input", { type: "search", placeholder: "Search prompts, models, settings…", "aria-label": "Search the history", autocomplete: "off", spellcheck: "false" });
    let typing = null;
    this.search.addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => this.reload(), 180);
    });
    this.only = tool("star", "Favourites", () => this.toggleOnly(), { wide: true, pressed: false });
    this.count = h("span", { class: "easel-quiet easel-count", role: "status" });
    this.rebuildButton = tool("rebuild", "Rebuild from files", () => this.rebuild(), { wide: true });
    this.chosen = h("div", { class: "easel-selection", hidden: true });
    this.grid = h("div", { class: "easel-grid", role: "list" });
    this.empty = h("div", { class: "easel-empty", hidden: true });
    this.end = h("div", { class: "easel-end" });
    this.append(
      h("div", { class: "easel-toolbar" }, h("label", { class: "easel-search" }, icon("search"), this.search), this.only, this.count, this.rebuildButton),
      this.chosen,
      this.grid,
      this.empty,
      this.end,
    );
    new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && this.more(), { rootMargin: "800px" }).observe(this.end);
  }

  query() {
    return { query: this.search.value.trim(), favourite: this.favourite || null, limit: PAGE };
  }

  async reload() {
    const turn = ++this.asked;
    if (this.tooLong()) return this.show({ images: [], next_cursor: null, total: undefined });
    let page;
    try {
      page = await api.searchHistory(this.query(), { quiet: !live.connected });
    } catch {
      return;
    }
    if (turn !== this.asked) return;
    this.stale = false;
    this.show(page);
  }

  tooLong() {
    return this.query().query.length > LONGEST_SEARCH;
  }

  show(page) {
    this.images = [...page.images];
    this.cursor = page.next_cursor;
    this.total = page.total;
    // What was selected stays so, as far as it is still shown.
    this.selected = new Set(this.images.map((image) => image.id).filter((id) => this.selected.has(id)));
    this.grid.replaceChildren(...this.images.map((image) => this.tile(image)));
    this.drawCount();
  }

  async more() {
    if (!this.cursor || this.loading) return [];
    this.loading = true;
    const turn = this.asked;
    try {
      const page = await api.searchHistory({ ...this.query(), cursor: this.cursor });
      if (turn !== this.asked) return [];
      this.cursor = page.next_cursor;
      const fresh = page.images.filter((image) => !this.images.some((known) => known.id === image.id));
      this.images.push(...fresh);
      this.grid.append(...fresh.map((image) => this.tile(image)));
      return fresh;
    } catch {
      return [];
    } finally {
      this.loading = false;
    }
  }

  tile(image) {
    const open = h(
      "button",
      {
        type: "button",
        class: "easel-tile-open",
        "aria-label": `Open: ${shorten(image.spec.prompt || "no prompt", 60)}, seed ${image.seed}`,
        onclick: () => openViewer(this.images, image.id, { loadMore: () => this.more() }),
      },
      h("img", { src: thumbUrl(image, 240), alt: "", loading: "lazy", decoding: "async" }),
    );
    const check = h("input", { type: "checkbox", "aria-label": "Select this picture", onchange: () => this.select(image.id, check.checked) });
    check.checked = this.selected.has(image.id);
    return h(
      "figure",
      { class: "easel-tile", role: "listitem", "data-id": image.id },
      open,
      h("label", { class: "easel-check" }, check),
      tool("star", image.favourite ? "No favourite any more" : "Favourite", () => toggleFavourite(this.find(image.id)), { pressed: image.favourite }),
      h("figcaption", { text: shorten(image.spec.prompt || "no prompt", 90) }),
    );
  }

  find(id) {
    return this.images.find((image) => image.id === id);
  }

  select(id, on) {
    if (on) this.selected.add(id);
    else this.selected.delete(id);
    this.drawSelection();
  }

  drawSelection() {
    const count = this.selected.size;
    this.chosen.hidden = count === 0;
    this.grid.classList.toggle("easel-selecting", count > 0);
    if (!count) return;
    this.chosen.replaceChildren(
      h("strong", { text: count === 1 ? "1 picture selected" : `${count} pictures selected` }),
      tool("bin", "Delete", () => deletePictures([...this.selected].map((id) => this.find(id)).filter(Boolean)), { wide: true }),
      tool("close", "Select none", () => {
        this.selected.clear();
        for (const box of this.grid.querySelectorAll(".easel-check input")) box.checked = false;
        this.drawSelection();
      }, { wide: true }),
    );
  }

  drawCount() {
    const found = this.search.value.trim() || this.favourite;
    this.count.textContent = this.total === undefined ? "" : `${this.total.toLocaleString()} ${this.total === 1 ? "picture" : "pictures"}${found ? " found" : ""}`;
    this.empty.hidden = this.images.length > 0;
    if (this.tooLong()) {
      const length = this.query().query.length.toLocaleString();
      this.empty.replaceChildren(h("p", { text: `What you look for has ${length} characters; a search takes at most ${LONGEST_SEARCH.toLocaleString()}.` }));
      return this.drawSelection();
    }
    this.empty.replaceChildren(
      h("h3", { text: found ? "Nothing found" : "No pictures yet" }),
      h("p", { text: found ? "Every word must occur in the prompt, the model's name or the settings." : "Everything you generate is kept here, with its settings. Pictures that lie in the outputs folder already can be read in with “Rebuild from files”." }),
    );
    this.drawSelection();
  }

  arrived(image) {
    if (this.search.value.trim() || this.favourite || this.find(image.id) || this.stale) return;
    this.images.unshift(image);
    this.grid.prepend(this.tile(image));
    this.total += 1;
    this.drawCount();
  }

  changed({ ids, action }) {
    if (action !== "deleted") return this.reload();
    for (const id of ids) {
      if (this.find(id)) this.total -= 1;
      this.images = this.images.filter((image) => image.id !== id);
      this.selected.delete(id);
      this.grid.querySelector(`[data-id="${CSS.escape(id)}"]`)?.remove();
    }
    this.drawCount();
  }

  marked(image) {
    const place = this.images.findIndex((known) => known.id === image.id);
    if (place < 0) return;
    this.images[place] = image;
    this.grid.querySelector(`[data-id="${CSS.escape(image.id)}"]`)?.replaceWith(this.tile(image));
  }

  toggleOnly() {
    this.favourite = !this.favourite;
    this.only.setAttribute("aria-pressed", String(this.favourite));
    this.reload();
  }

  async rebuild() {
    this.rebuildButton.disabled = true;
    try {
      say(rebuiltInWords(await api.rebuildHistory()));
      await this.reload();
    } finally {
      this.rebuildButton.disabled = false;
    }
  }
}

customElements.define("easel-history", History);
