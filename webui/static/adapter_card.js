// One adapter in the gallery: a click puts it into the stack.

import { openAdapter } from "./adapter_drawer.js";
import { adapterPicture } from "./adapter_picture.js";
import { h, tool } from "./dom.js";
import { familyName } from "./family.js";
import { say } from "./say.js";
import { fullTitle } from "./shelf.js";
import { bytes } from "./size.js";
import { stack } from "./stack.js";

export function adapterCard(view) {
  const facts = [view.kind, view.rank ? `rank ${view.rank}` : "", bytes(view.size_bytes), view.default_weight !== 1 ? `weight ${view.default_weight}` : ""].filter(Boolean).join(" · ");
  const add = h(
    "button",
    { type: "button", class: "easel-card-add", disabled: Boolean(view.problem), title: view.problem ? null : "Add it to the stack, with its weight and its trigger words", onclick: () => addToStack(view) },
    h("span", { class: "easel-card-picture" }, adapterPicture(view, { wide: true }), view.family ? h("span", { class: "easel-pill", text: familyName(view.family) }) : null, h("span", { class: "easel-card-in", text: "in the stack" })),
    h("strong", { text: view.title }),
    view.shared_title ? h("span", { class: "easel-card-file", text: view.id }) : null,
    h("span", { class: "easel-card-facts", text: facts }),
  );
  return h(
    "article",
    { class: "easel-adapter-card", role: "listitem", "data-id": view.id, "data-stacked": String(Boolean(stack.holds(view.id))) },
    add,
    view.problem ? h("p", { class: "easel-card-problem", text: view.problem }) : null,
    tool("info", `About ${fullTitle(view)}`, () => openAdapter(view.id)),
  );
}

export function addToStack(view) {
  if (stack.add(view)) return;
  say(`${fullTitle(view)} is in the stack already.`);
  for (const panel of document.querySelectorAll("easel-stack")) panel.flash(view.id);
}
