// All that is known of one adapter, in a drawer at the side.

import { impactPart } from "./adapter_impact.js";
import { adapterPicture } from "./adapter_picture.js";
import { api } from "./api.js";
import { h, tool } from "./dom.js";
import { familyName } from "./family.js";
import { copyText } from "./pictures.js";
import { prompt } from "./prompt.js";
import { say } from "./say.js";
import { fullTitle } from "./shelf.js";
import { bytes } from "./size.js";
import { stack } from "./stack.js";
import { trialPart } from "./adapter_trial.js";

const TAGS = 40;
let drawer = null;

export async function openAdapter(name) {
  let details;
  try {
    details = await api.getAdapter(name);
  } catch {
    return;
  }
  drawer ??= build();
  drawer.replaceChildren(...content(details));
  drawer.setAttribute("aria-label", `About ${fullTitle(details.view)}`);
  if (!drawer.open) drawer.showModal();
  drawer.scrollTop = 0;
}

function build() {
  const made = h("dialog", { class: "easel-drawer" });
  made.addEventListener("click", (event) => event.target === made && made.close());
  document.body.append(made);
  return made;
}

function content(details) {
  const { view } = details;
  const add = h("button", { type: "button", class: "easel-tool easel-wide easel-strong", text: stack.holds(view.id) ? "In the stack" : "Add to the stack", disabled: Boolean(view.problem || stack.holds(view.id)) });
  add.addEventListener("click", () => {
    stack.add(view);
    add.disabled = true;
    add.textContent = "In the stack";
  });
  return [
    h("header", {}, h("h3", { text: fullTitle(view) }), tool("close", "Close", () => drawer.close())),
    view.problem ? h("p", { class: "easel-card-problem", text: view.problem }) : null,
    h("div", { class: "easel-drawer-picture" }, adapterPicture(view, { wide: true })),
    h("div", { class: "easel-buttons" }, add),
    view.description ? h("p", { class: "easel-drawer-text", text: view.description }) : null,
    facts(details),
    view.problem ? null : impactPart(view),
    view.problem ? null : trialPart(view),
    part("Trigger words", view.trigger_words.map((word) => wordButton(word, word))),
    part("Trained on (tags, how often)", Object.entries(details.tag_counts).slice(0, TAGS).map(([tag, count]) => wordButton(tag, `${tag} ${count}`))),
    part("Prompts that others used", details.examples.map((text) => exampleButton(text))),
    details.negative_prompt ? part("Advised negative prompt", [h("p", { class: "easel-drawer-text", text: details.negative_prompt })]) : null,
    metadata(details.metadata),
  ].filter(Boolean);
}

function facts({ view, modules, uses, usual_weight: usual }) {
  const rows = [
    ["Kind", [view.kind, view.rank ? `rank ${view.rank}` : ""].filter(Boolean).join(", ")],
    ["Made for", familyName(view.family)],
    ["Changes", modules ? `${modules} modules` : ""],
    ["Weight", view.default_weight],
    ["Few steps", view.quick ? `${view.quick.steps} steps, sampler ${view.quick.sampler}, guidance ${view.quick.guidance}` : ""],
    ["You used it", uses ? `in ${uses === 1 ? "1 picture" : `${uses} pictures`}, mostly at ${usual}` : ""],
    ["File", view.file],
    ["Size", view.size_bytes ? `${bytes(view.size_bytes)}, ${view.dtype}` : ""],
  ].filter(([, value]) => value !== "" && value !== null);
  const list = h("dl", { class: "easel-settings-list" }, ...rows.flatMap(([name, value]) => [h("dt", { text: name }), h("dd", { text: String(value) })]));
  if (view.hash) list.append(h("dt", { text: "SHA-256" }), h("dd", {}, h("button", { type: "button", class: "easel-mini", text: `${view.hash.slice(0, 10)}…`, title: "Copy the whole hash", onclick: () => copyText(view.hash, "Hash copied.") })));
  return list;
}

function part(title, children) {
  return children.length ? h("section", { class: "easel-drawer-part" }, h("h4", { text: title }), h("div", { class: "easel-triggers" }, ...children)) : null;
}

function wordButton(word, text) {
  const put = () => say(prompt.add(word) ? `“${word}” is in the prompt.` : `“${word}” is in the prompt already.`);
  return h("button", { type: "button", class: "easel-trigger", text, title: "Put it into the prompt", onclick: put });
}

function exampleButton(text) {
  return h("button", { type: "button", class: "easel-example", text, title: "Copy this prompt", onclick: () => copyText(text, "Prompt copied.") });
}

function metadata(values) {
  const rows = Object.entries(values);
  if (!rows.length) return null;
  return h("details", { class: "easel-fold" }, h("summary", { text: `What the file says of itself (${rows.length})` }), h("dl", { class: "easel-metadata" }, ...rows.flatMap(([name, value]) => [h("dt", { text: name }), h("dd", { text: value })])));
}
