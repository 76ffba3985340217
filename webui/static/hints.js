// Hints: what the preprocessors make of the units' pictures, asked for as soon as a unit stands still.

import { api } from "./api.js";
import { controls } from "./control_shelf.js";
import { pictureSize } from "./form_numbers.js";
import { live } from "./live.js";
import { inFull } from "./say.js";
import { settled } from "./timing.js";

const WAIT = 300;

class Hints extends EventTarget {
  constructor() {
    super();
    this.known = new Map();
    this.shown = new Map();
    this.askers = new Map();
    // A missing file may be here now.
    live.addEventListener("library", () => this.forgetFaults());
    live.addEventListener("engine", () => this.forgetFaults());
  }

  // A unit's hint now: {state: "none" | "asking" | "ready" | "failed", view, fault}. While a new one is asked for, `view` is
  // the one before. Asks for it where it is not known.
  of(row) {
    if (!row.image || row.kind !== "controlnet") return { state: "none", view: null, fault: "" };
    // The unit says beneath its choice what is missing.
    if (controls.preprocessor(row.preprocessor)?.problem) return { state: "failed", view: null, fault: "This preprocessor cannot be used yet." };
    const asked = request(row);
    const key = JSON.stringify(asked);
    const known = this.known.get(key);
    if (known?.state === "ready") this.shown.set(row.key, known.view);
    if (known) return known;
    this.askFor(row.key, key, asked);
    return { state: "asking", view: this.shown.get(row.key) ?? null, fault: "" };
  }

  // Drawing once more what is asked for already does not put it off.
  askFor(row, key, asked) {
    const asker = this.askers.get(row) ?? { later: settled((...given) => this.ask(...given), WAIT), key: null };
    this.askers.set(row, asker);
    if (asker.key === key) return;
    asker.key = key;
    asker.later(row, key, asked);
  }

  async ask(row, key, asked) {
    try {
      this.known.set(key, { state: "ready", view: await api.makeHint(asked, { quiet: true }), fault: "" });
    } catch (error) {
      this.known.set(key, { state: "failed", view: null, fault: inFull(error) });
    }
    this.askers.get(row).key = null;
    this.dispatchEvent(new Event("change"));
  }

  forgetFaults() {
    const failed = [...this.known].filter(([, hint]) => hint.state === "failed");
    for (const [key] of failed) this.known.delete(key);
    if (failed.length) this.dispatchEvent(new Event("change"));
  }
}

function request({ image, preprocessor, parameters, resolution, resize }) {
  if (preprocessor === "none") return { image, preprocessor };
  const asked = { image, preprocessor, parameters };
  return resolution === null ? { ...asked, ...pictureSize(), resize } : { ...asked, resolution };
}

export const hints = new Hints();
