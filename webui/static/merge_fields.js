// Labelled fields of the Merge tab: a choice, a number, a line of text, a switch.

import { h } from "./dom.js";

function field(label, control, { title = null, hint = null } = {}) {
  return h("label", { class: "easel-merge-field", title }, h("span", { class: "easel-merge-label", text: label }), control, hint ? h("span", { class: "easel-hint", text: hint }) : null);
}

// `options`: [value, words, title].
export function choice(label, options, change, { title = null } = {}) {
  const select = h("select", { onchange: () => change(select.value) }, ...options.map(([value, text]) => h("option", { value, text })));
  const element = field(label, select, { title });
  return { element, select, show: (value) => (select.value = value) };
}

// A field that is left with something that is no number takes its value back.
export function number(label, change, { min, max, step = 1, title = null, placeholder = null, optional = false }) {
  let known = "";
  const input = h("input", { type: "number", min, max, step, placeholder, onchange: () => typed() });
  const show = (value) => {
    known = value;
    if (document.activeElement !== input || Number(input.value) !== Number(value)) input.value = value;
  };
  const typed = () => {
    if (optional && input.value.trim() === "") return change("");
    const value = Number(input.value);
    if (input.value.trim() === "" || !Number.isFinite(value)) return show(known);
    change(Math.max(min ?? -Infinity, Math.min(max ?? Infinity, step === 1 ? Math.round(value) : value)));
  };
  return { element: field(label, input, { title }), input, show };
}

export function text(label, change, { placeholder = null, title = null, long = false, most = 2000 } = {}) {
  const input = long ? h("textarea", { rows: 2, maxlength: most, placeholder }) : h("input", { type: "text", maxlength: most, placeholder, autocomplete: "off" });
  input.addEventListener("input", () => change(input.value));
  const show = (value) => {
    if (input.value !== value) input.value = value;
  };
  return { element: field(label, input, { title }), input, show };
}

export function turn(label, change, { title = null } = {}) {
  const box = h("input", { type: "checkbox", role: "switch", class: "easel-switch", onchange: () => change(box.checked) });
  return { element: h("label", { class: "easel-merge-switch", title }, box, h("span", { text: label })), show: (value) => (box.checked = value) };
}
