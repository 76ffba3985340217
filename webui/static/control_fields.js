// Small fields of a unit: a choice with a label, a number, a switch.

import { h } from "./dom.js";
import { WeightSlider } from "./weight_slider.js";

// `groups`: [label or null, [[value, words, title]…]]. `show` builds the options anew only when they differ.
export function pick(label, title, change) {
  const select = h("select", { class: "easel-select", title, "aria-label": label, onchange: () => change(select.value) });
  const caption = h("span", { class: "easel-weight-name", text: label, title });
  const element = h("label", { class: "easel-unit-field" }, caption, select);
  let known = "";
  const show = (groups, value) => {
    const key = JSON.stringify(groups);
    if (key !== known) {
      known = key;
      select.replaceChildren(...groups.filter(([, options]) => options.length).flatMap(([name, options]) => (name ? [h("optgroup", { label: name }, ...options.map(option))] : options.map(option))));
    }
    if (select.value !== value) select.value = value;
  };
  const name = (words) => {
    if (caption.textContent === words) return;
    caption.textContent = words;
    select.setAttribute("aria-label", words);
  };
  return { element, select, show, name };
}

const option = ([value, text, title = null]) => h("option", { value, text, title });

export function turn(label, title, change) {
  const box = h("input", { type: "checkbox", role: "switch", class: "easel-switch", onchange: () => change(box.checked) });
  return { element: h("label", { class: "easel-unit-turn", title }, box, h("span", { text: label })), show: (value) => (box.checked = value) };
}

export function whole(label, title, { min, max, step = 1 }, change) {
  const input = h("input", { type: "number", class: "easel-weight-number", min, max, step, "aria-label": label, title });
  let known = min;
  input.addEventListener("change", () => {
    const typed = Math.round(Number(input.value));
    if (input.value !== "" && Number.isFinite(typed)) change(Math.max(min, Math.min(max, typed)));
    else input.value = known;
  });
  const show = (value) => {
    known = value;
    if (document.activeElement !== input || Number(input.value) !== value) input.value = value;
  };
  return { element: input, show };
}

// A slider from 0 to 100 %, whose value is a fraction.
export function share(label, title, change) {
  const slider = new WeightSlider({ label: `${label}, %`, title, change: (value) => change(value / 100), rest: () => 50, low: 0, high: 100, step: 1, least: 0, most: 100 });
  return { element: slider.element, show: (value) => slider.show(Math.round(value * 100)) };
}

export const mini = (text, title, onclick) => h("button", { type: "button", class: "easel-mini", text, title, onclick });
