// What can be made on the Merge tab, as cards of which one is chosen.

import { h, icon } from "./dom.js";
import { draft } from "./merge_draft.js";

export const TASKS = [
  { id: "merge", title: "Merge adapters", icon: "blend", words: "Several adapters become one file that does what the stack does.", act: "Merge" },
  { id: "bake", title: "Bake into a checkpoint", icon: "bake", words: "Adapters are worked into a model, which then needs no adapters.", act: "Bake" },
  { id: "extract", title: "Extract an adapter", icon: "extract", words: "What makes a tuned checkpoint differ from its base becomes a small file.", act: "Extract" },
  { id: "checkpoint", title: "Merge checkpoints", icon: "layers", words: "Whole models become one, each with a weight.", act: "Merge" },
  { id: "resize", title: "Resize", icon: "shrink", words: "An adapter of a smaller rank: a smaller file, with the loss told before.", act: "Resize" },
  { id: "convert", title: "Convert", icon: "convert", words: "The same adapter for other programs, or in another precision.", act: "Convert" },
  { id: "compare", title: "Compare adapters", icon: "grid", words: "Up to twelve, such as the epochs of one training: one grid, and what each does unasked.", act: "Compare" },
  { id: "edit", title: "Edit details", icon: "label", words: "Title, trigger words, picture and licence, written into the file itself.", act: "Save the details" },
];

export const taskOf = (id) => TASKS.find((task) => task.id === id) ?? TASKS[0];
const KEYS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

export class TaskCards {
  constructor() {
    this.cards = new Map(TASKS.map((task) => [task.id, this.card(task)]));
    this.element = h("div", { class: "easel-merge-tasks", role: "radiogroup", "aria-label": "What to make" }, ...this.cards.values());
    this.element.addEventListener("keydown", (event) => this.onKey(event));
    draft.addEventListener("task", () => this.update());
    this.update();
  }

  card(task) {
    return h(
      "button",
      { type: "button", role: "radio", class: "easel-merge-task", "data-task": task.id, onclick: () => draft.choose(task.id) },
      icon(task.icon),
      h("strong", { text: task.title }),
      h("span", { text: task.words }),
    );
  }

  onKey(event) {
    if (!(event.key in KEYS)) return;
    event.preventDefault();
    const place = TASKS.findIndex((task) => task.id === draft.task);
    const next = TASKS[(place + KEYS[event.key] + TASKS.length) % TASKS.length];
    draft.choose(next.id);
    this.cards.get(next.id).focus();
  }

  update() {
    for (const [id, card] of this.cards) {
      const chosen = id === draft.task;
      card.setAttribute("aria-checked", String(chosen));
      card.tabIndex = chosen ? 0 : -1;
    }
  }
}
