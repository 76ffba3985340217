// Something that the page knows by asking the engine: asked for as soon as it answers, and again after each silence, in
// which anything may have happened.

import { live } from "./live.js";

export class Asked extends EventTarget {
  constructor() {
    super();
    this.fault = null;
    this.loaded = false;
    this.loading = false;
    this.turn = 0;
    for (const event of ["connection", "engine"]) live.addEventListener(event, () => this.follow());
  }

  // --- what it says itself ---

  // Ask the studio.
  async read() {
    throw new Error("it says how it is asked for");
  }

  // Take what was answered over.
  learn() {
    throw new Error("it says what becomes of an answer");
  }

  // --- what all of them do ---

  follow() {
    if (!live.answers) this.loaded = false;
    else if (!this.loaded && !this.loading) this.load();
  }

  async load() {
    const turn = ++this.turn;
    this.loading = true;
    let answer = null;
    let fault = null;
    try {
      answer = await this.read();
    } catch (error) {
      // The next event of the engine asks again.
      fault = error;
    }
    // Somebody has asked again meanwhile.
    if (turn !== this.turn) return;
    this.loading = false;
    this.fault = fault;
    this.loaded = fault === null && live.answers;
    if (fault === null) this.learn(answer);
    this.tell();
  }

  tell() {
    this.dispatchEvent(new Event("change"));
  }
}
