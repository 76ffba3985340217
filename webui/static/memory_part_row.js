// One loaded part: what it is, how large, where, how often and by whom it is used; how much it is wanted, and out with it.

import { h, tool } from "./dom.js";
import { TIERS, ago, dtypeName, inWords, partMeaning, partName } from "./memory_words.js";

let numbers = 0;

export class PartRow {
  constructor(entry, { keep, release }) {
    this.key = entry.key;
    this.wished = null;
    this.name = h("strong");
    this.model = h("span", { class: "easel-quiet" });
    this.size = h("span", { class: "easel-part-size" });
    this.share = h("i");
    this.facts = h("span", { class: "easel-part-facts" });
    this.use = h("span", { class: "easel-part-facts" });
    this.busy = h("span", { class: "easel-pill", "data-state": "on", hidden: true });
    const group = `easel-tier-${++numbers}`;
    this.tiers = new Map();
    const choices = Object.entries(TIERS).map(([tier, [words, title]]) => {
      const box = h("input", { type: "radio", name: group, value: tier, onchange: () => this.choose(tier, keep) });
      this.tiers.set(tier, box);
      return h("label", { title }, box, h("span", { text: words }));
    });
    this.choice = h("div", { class: "easel-segments", role: "radiogroup" }, ...choices);
    this.out = tool("eject", "Release", () => release(this.entry));
    this.element = h(
      "li",
      { class: "easel-part" },
      h("div", { class: "easel-part-name" }, this.name, this.model, this.busy),
      h("div", { class: "easel-part-weight" }, this.size, h("span", { class: "easel-part-share", "aria-hidden": "true" }, this.share)),
      h("div", { class: "easel-part-more" }, this.facts, this.use),
      h("div", { class: "easel-part-tools" }, this.choice, this.out),
    );
    this.update(entry, 1, 0);
  }

  // `largest`: bytes of the largest part; `now`: the engine's clock.
  update(entry, largest, now) {
    this.entry = entry;
    const name = partName(entry.part);
    this.name.textContent = name;
    this.name.title = partMeaning(entry.part);
    this.model.textContent = entry.title;
    this.size.textContent = inWords(entry.nbytes);
    this.share.style.width = `${Math.max(2, (100 * entry.nbytes) / Math.max(1, largest))}%`;
    this.facts.textContent = [dtypeName(entry.dtype), place(entry)].filter(Boolean).join(" · ");
    this.facts.title = entry.dtype;
    this.use.textContent = now ? `used ${ago(entry.used_at, now)} · ${times(entry)}` : "";
    this.use.title = `${entry.uses_24h} times within the last 24 hours`;
    const busy = [entry.leases ? "in use" : "", entry.queued ? `${entry.queued} waiting` : ""].filter(Boolean).join(" · ");
    this.busy.hidden = !busy;
    this.busy.textContent = busy;
    this.busy.title = [entry.leases ? `${entry.leases === 1 ? "One picture uses" : `${entry.leases} pictures use`} it now` : "", entry.queued ? `${entry.queued} in the queue need it` : ""].filter(Boolean).join("; ");
    this.choice.setAttribute("aria-label", `How much ${name} of ${entry.title} is wanted`);
    this.showTier();
    const label = entry.leases ? "In use: it can be released when the picture is done" : `Release ${name} of ${entry.title}`;
    this.out.title = label;
    this.out.setAttribute("aria-label", label);
    // Not disabled: who clicks is told why it stays.
    this.out.dataset.busy = String(entry.leases > 0);
    this.element.dataset.place = entry.place;
  }

  // Until the answer is here the choice stands: news of a moment before must not take it back.
  async choose(tier, keep) {
    this.wished = tier;
    try {
      await keep(this.entry, tier);
    } finally {
      if (this.wished === tier) this.wished = null;
      this.showTier();
    }
  }

  showTier() {
    const shown = this.wished ?? this.entry.tier;
    for (const [tier, box] of this.tiers) box.checked = tier === shown;
  }
}

const times = ({ uses }) => (uses === 1 ? "once" : `${uses} times`);

function place(entry) {
  if (entry.place === "resting") return "rests in RAM";
  return !entry.device || entry.device === "cpu" ? "in RAM" : `on the GPU${/:[1-9]/.test(entry.device) ? ` (${entry.device})` : ""}`;
}
