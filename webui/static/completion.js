// The prompt box completes adapters, trigger words, embeddings and one's own words, as a list beneath it.

import { api } from "./api.js";
import { h } from "./dom.js";
import { type } from "./prompt.js";
import { settled } from "./timing.js";

const BOXES = "#easel-prompt textarea, #easel-negative textarea";
const KINDS = { adapter: "adapter", trigger: "trigger word", embedding: "embedding", history: "your words" };
const SHORTEST = 2;

const list = h("ul", { class: "easel-completions", id: "easel-completions", role: "listbox", "aria-label": "Completions" });
let area = null;
let found = [];
let at = -1;
let turn = 0;

// What stands before the caret and is not finished yet: a tag that is open, or the last word.
const unfinished = () => /(?:<[^<>\s]*|[^\s,()[\]{}<>|:]+)$/.exec(area.value.slice(0, area.selectionStart))?.[0] ?? "";

const ask = settled(async () => {
  const prefix = area && document.activeElement === area ? unfinished() : "";
  if (prefix.length < SHORTEST) return close();
  const mine = ++turn;
  try {
    const { completions } = await api.complete({ prefix }, { quiet: true });
    if (mine !== turn || !area || unfinished() !== prefix) return;
    show(completions.filter(({ insert }) => insert !== prefix));
  } catch {
    close();
  }
}, 160);

function show(completions) {
  found = completions;
  at = -1;
  if (!found.length) return close();
  list.replaceChildren(...found.map(option));
  const { left, bottom, width } = area.getBoundingClientRect();
  Object.assign(list.style, { left: `${left + scrollX}px`, top: `${bottom + scrollY + 4}px`, width: `${width}px` });
  document.body.append(list);
}

function option({ text, kind, detail }, place) {
  const made = h("li", { role: "option", id: `easel-completion-${place}`, "aria-selected": "false" }, h("span", { text }), h("small", { text: detail || KINDS[kind] }));
  // The focus stays in the text.
  made.addEventListener("pointerdown", (event) => event.preventDefault());
  made.addEventListener("click", () => take(place));
  return made;
}

function close() {
  turn += 1;
  ask.cancel();
  found = [];
  at = -1;
  list.remove();
  area?.removeAttribute("aria-activedescendant");
}

function point(place) {
  at = (place + found.length) % found.length;
  [...list.children].forEach((item, number) => item.setAttribute("aria-selected", String(number === at)));
  list.children[at].scrollIntoView({ block: "nearest" });
  area.setAttribute("aria-activedescendant", list.children[at].id);
}

function take(place) {
  const { insert } = found[place];
  const caret = area.selectionStart;
  const start = caret - unfinished().length;
  const text = area.value.slice(0, start) + insert + area.value.slice(caret);
  close();
  type(area, text, start + insert.length);
  ask.cancel();
}

function onKey(event) {
  // Generating ends the writing: the next Escape is for the job.
  if (event.target === area && event.key === "Enter" && (event.ctrlKey || event.metaKey)) return close();
  if (!found.length || event.target !== area || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "ArrowDown") point(at + 1);
  else if (event.key === "ArrowUp") point(at < 0 ? found.length - 1 : at - 1);
  else if (event.key === "Tab" && !event.shiftKey) take(Math.max(at, 0));
  else if (event.key === "Enter" && at >= 0) take(at);
  else if (event.key === "Escape") close();
  else return;
  event.preventDefault();
  event.stopPropagation();
}

export function completePrompts() {
  document.addEventListener("focusin", (event) => {
    if (!event.target.matches?.(BOXES)) return;
    area = event.target;
    for (const [name, value] of [["aria-autocomplete", "list"], ["aria-controls", list.id]]) area.setAttribute(name, value);
    area.setAttribute("autocomplete", "off");
  });
  document.addEventListener("focusout", (event) => event.target === area && close());
  document.addEventListener("input", (event) => event.isTrusted && event.target === area && ask());
  document.addEventListener("click", (event) => event.target === area && close());
  // Before the page's own keys: Escape closes the list and cancels no job.
  window.addEventListener("keydown", onKey, { capture: true });
}
