// Stacks that a person has kept under a name: save, load, delete.

import { api } from "./api.js";
import { h, tool } from "./dom.js";
import { say } from "./say.js";
import { stack } from "./stack.js";

export function namedStacks() {
  const name = h("input", { type: "text", maxlength: 80, placeholder: "Name for this stack", "aria-label": "Name for this stack", autocomplete: "off" });
  const save = tool("save", "Save", () => keep(), { wide: true });
  const list = h("ul", { class: "easel-kept" });
  const element = h("details", { class: "easel-fold" }, h("summary", { text: "Saved stacks" }), h("form", { class: "easel-keep", onsubmit: (event) => submit(event) }, name, save), list);
  element.addEventListener("toggle", () => element.open && look());

  const submit = (event) => {
    event.preventDefault();
    keep();
  };

  async function look() {
    try {
      draw((await api.listStacks()).stacks);
    } catch (error) {
      list.replaceChildren(h("li", { class: "easel-hint", text: error.message }));
    }
  }

  async function keep() {
    if (!name.value.trim()) return name.focus();
    if (!stack.rows.length) return say("The stack is empty: there is nothing to save.", { kind: "error" });
    const { stacks } = await api.saveStack({ name: name.value.trim(), adapters: stack.values() });
    say(`Stack “${name.value.trim()}” saved.`);
    name.value = "";
    draw(stacks);
  }

  function load(kept) {
    const undo = stack.replace(kept.adapters);
    say(`Stack “${kept.name}” loaded.`, { action: "Undo", onAction: undo });
  }

  async function drop(kept) {
    draw((await api.deleteStack(kept.name)).stacks);
    const back = async () => draw((await api.saveStack(kept)).stacks);
    say(`Stack “${kept.name}” deleted.`, { action: "Undo", onAction: back });
  }

  function draw(stacks) {
    if (!stacks.length) return list.replaceChildren(h("li", { class: "easel-hint", text: "None yet. A saved stack keeps its adapters, weights and order." }));
    list.replaceChildren(...stacks.map((kept) => item(kept)));
  }

  function item(kept) {
    const names = kept.adapters.map((ref) => ref.name).join(", ");
    const open = h("button", { type: "button", class: "easel-kept-name", title: `Load: ${names}`, onclick: () => load(kept) }, h("strong", { text: kept.name }), h("span", { text: kept.adapters.length === 1 ? "1 adapter" : `${kept.adapters.length} adapters` }));
    return h("li", {}, open, tool("bin", `Delete the stack ${kept.name}`, () => drop(kept)));
  }

  return element;
}
