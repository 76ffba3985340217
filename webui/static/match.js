// The match report: what of each adapter in the stack fits the chosen model, asked before anything runs.

import { api } from "./api.js";
import { live } from "./live.js";
import { shelf } from "./shelf.js";
import { refOf, stack } from "./stack.js";
import { settled } from "./timing.js";

class Match extends EventTarget {
  constructor() {
    super();
    this.model = null;
    this.family = "";
    this.reports = new Map();
    this.conflicts = [];
    this.advice = [];
    this.fault = "";
    this.state = "idle";
    this.wanted = false;
    this.turn = 0;
    this.ask = settled(() => this.check(), 250);
    stack.addEventListener("rows", () => this.again());
    stack.addEventListener("values", () => this.wanted && this.again());
    stack.addEventListener("views", () => this.again());
    live.addEventListener("library", () => this.again());
    live.addEventListener("form", ({ detail }) => this.chose(detail));
    // It was asked while the engine was away.
    live.addEventListener("engine", () => live.connected && live.status.state === "ready" && this.state === "failed" && this.again());
  }

  chose({ model, family }) {
    if (!model || model === this.model) return;
    this.model = model;
    this.family = family;
    this.again();
  }

  // Conflicts read the files' weights, so they are asked for only while somebody looks at them.
  want(conflicts) {
    this.wanted = conflicts;
    if (conflicts) this.again();
  }

  again() {
    if (!stack.rows.length) {
      this.turn += 1;
      this.reports.clear();
      this.conflicts = [];
      this.advice = [];
      return this.tell("idle");
    }
    this.tell("asking");
    this.ask();
  }

  async check() {
    const rows = stack.rows.filter((row) => !shelf.missing(row.name));
    if (!rows.length) return this.tell("idle");
    const turn = ++this.turn;
    const conflicts = this.wanted && rows.filter((row) => row.enabled).length > 1;
    try {
      const answer = await api.checkStack({ model: this.model, adapters: rows.map(refOf), conflicts }, { quiet: true });
      if (turn !== this.turn) return;
      this.reports = new Map(answer.reports.map((report, place) => [rows[place]?.name, report]));
      this.conflicts = answer.conflicts;
      this.advice = answer.advice;
      this.fault = "";
      this.tell("idle");
    } catch (error) {
      if (turn !== this.turn) return;
      this.fault = error.message;
      this.reports.clear();
      this.tell("failed");
    }
  }

  tell(state) {
    this.state = state;
    this.dispatchEvent(new Event("change"));
  }
}

export const match = new Match();
