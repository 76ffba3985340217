// <easel-adapters>: all adapters of the library, searched and filtered; more arrive as one scrolls.

import { adapterCard } from "./adapter_card.js";
import { api } from "./api.js";
import { arrange, h, icon, tool } from "./dom.js";
import { familyName } from "./family.js";
import { live } from "./live.js";
import { inFull } from "./say.js";
import { shelf } from "./shelf.js";
import { stack } from "./stack.js";
import { settled } from "./timing.js";

const PAGE = 60;
// The most that the library gives at once.
const LONGEST_PAGE = 500;

class Gallery extends HTMLElement {
  connectedCallback() {
    if (!this.grid) this.build();
    this.onState = () => live.answers && this.stale && this.reload();
    this.onLibrary = settled(() => {
      shelf.forget();
      this.reload({ keep: true });
    }, 400);
    this.onStack = () => this.mark();
    live.addEventListener("engine", this.onState);
    live.addEventListener("library", this.onLibrary);
    stack.addEventListener("rows", this.onStack);
    stack.addEventListener("views", this.onStack);
    if (live.answers) this.reload();
  }

  disconnectedCallback() {
    live.removeEventListener("engine", this.onState);
    live.removeEventListener("library", this.onLibrary);
    stack.removeEventListener("rows", this.onStack);
    stack.removeEventListener("views", this.onStack);
    clearTimeout(this.again);
  }

  build() {
    this.adapters = [];
    this.cursor = null;
    this.turn = 0;
    this.stale = true;
    const later = settled(() => this.reload(), 180);
    this.search = h("input", { type: "search", placeholder: "Search names, trigger words, tags…", "aria-label": "Search adapters", autocomplete: "off", spellcheck: "false", oninput: later });
    this.family = h("select", { "aria-label": "Family of models", title: "For which kind of model", onchange: () => this.reload() });
    this.folder = h("select", { "aria-label": "Folder", title: "In which folder", onchange: () => this.reload() });
    this.count = h("span", { class: "easel-quiet easel-count", role: "status" });
    const refresh = tool("recall", "Look into the folders again", () => this.reload({ refresh: true }));
    this.grid = h("div", { class: "easel-adapter-grid", role: "list", "aria-label": "Adapters" });
    this.empty = h("div", { class: "easel-empty", hidden: true });
    this.end = h("div", { class: "easel-end" });
    this.append(h("div", { class: "easel-toolbar" }, h("label", { class: "easel-search" }, icon("search"), this.search), this.family, this.folder, this.count, refresh), this.grid, this.empty, this.end);
    fillChoice(this.family, "All families", []);
    fillChoice(this.folder, "All folders", []);
    new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && this.more(), { rootMargin: "800px" }).observe(this.end);
  }

  query() {
    return { query: this.search.value.trim(), family: this.family.value, folder: this.folder.value, limit: PAGE };
  }

  // `keep`: something changed in the folders; what is shown stays where it is.
  async reload({ refresh = false, keep = false } = {}) {
    const limit = keep ? Math.max(PAGE, this.adapters.length) : PAGE;
    if (limit > LONGEST_PAGE) return;
    const turn = ++this.turn;
    clearTimeout(this.again);
    let page;
    try {
      page = await api.listAdapters({ ...this.query(), limit, refresh: refresh || null }, { quiet: !refresh });
    } catch (error) {
      if (turn === this.turn) this.failed(error);
      return;
    }
    if (turn !== this.turn) return;
    this.stale = false;
    this.cursor = page.next_cursor;
    this.place(page.adapters);
    fillChoice(this.family, "All families", page.families, familyName);
    fillChoice(this.folder, "All folders", page.folders.filter(Boolean), (folder) => folder, 1);
    this.drawCount(page);
    if (page.scanning) this.again = setTimeout(() => this.reload({ keep: true }), 1500);
  }

  // Cards that say the same stay as they are: no flicker, and the focus is kept.
  place(adapters) {
    const known = new Map(this.adapters.map((view, place) => [JSON.stringify(view), this.grid.children[place]]));
    const cards = adapters.map((view) => known.get(JSON.stringify(view)) ?? adapterCard(view));
    adapters.forEach((view) => shelf.know(view));
    this.adapters = [...adapters];
    arrange(this.grid, cards);
  }

  async more() {
    if (!this.cursor || this.loading) return;
    this.loading = true;
    const turn = this.turn;
    try {
      const page = await api.listAdapters({ ...this.query(), cursor: this.cursor });
      if (turn !== this.turn) return;
      this.cursor = page.next_cursor;
      page.adapters.forEach((view) => shelf.know(view));
      this.adapters.push(...page.adapters);
      this.grid.append(...page.adapters.map(adapterCard));
    } catch {
      this.cursor = null;
    } finally {
      this.loading = false;
    }
  }

  drawCount({ total, scanning }) {
    const found = this.search.value.trim() || this.family.value || this.folder.value;
    const words = `${total.toLocaleString()} ${total === 1 ? "adapter" : "adapters"}${found ? " found" : ""}`;
    this.count.textContent = scanning ? `${words} · reading the folders…` : words;
    this.empty.hidden = this.adapters.length > 0;
    if (this.empty.hidden) return;
    const [title, ...lines] = found
      ? ["Nothing found", "Every word must occur in the name, the trigger words or the tags."]
      : scanning
        ? ["Reading the folders…", "Only the first bytes of each file are read; it does not take long."]
        : ["No adapters yet", "Put LoRA and LyCORIS files (.safetensors) into models/loras; subfolders are fine. They appear here by themselves, and so do the starter adapters that come with Easel's own model."];
    this.empty.replaceChildren(h("span", { class: "easel-mark easel-mark-large", "aria-hidden": "true" }), h("h3", { text: title }), ...lines.map((text) => h("p", { text })));
  }

  failed(error) {
    if (!this.stale) return;
    this.empty.hidden = false;
    this.empty.replaceChildren(h("h3", { text: "The adapters cannot be listed" }), h("p", { text: inFull(error) }));
  }

  mark() {
    for (const card of this.grid.children) card.dataset.stacked = String(Boolean(stack.holds(card.dataset.id)));
  }
}

// Keep what is chosen while the list of choices changes.
function fillChoice(choice, all, values, name = (value) => value, least = 2) {
  const chosen = choice.value;
  const known = [...new Set([...values, chosen].filter(Boolean))];
  choice.replaceChildren(h("option", { value: "", text: all }), ...known.map((value) => h("option", { value, text: name(value) })));
  choice.value = chosen;
  choice.hidden = known.length < least && !chosen;
}

customElements.define("easel-adapters", Gallery);
