// Numbers that the studio will refuse are told beside their field, as soon as they are written; nothing is changed.

import { h } from "./dom.js";

const SEED = { low: 0, high: 2 ** 32 - 1 };
const NUMBERS = "#easel-settings-area .block > :not(easel-stack, easel-controls) input[type=number]";

// Gradio's sliders put what was typed into their range when the focus leaves them, and an emptied one to its smallest
// value: what was written has to stay.
function leave(event) {
  const field = event.target;
  if (!field.matches?.(NUMBERS)) return;
  if (field.value === "" || faultOf(field)) event.stopImmediatePropagation();
  show(field);
}

const name = (field) => field.getAttribute("aria-label")?.replace(/^number input for /, "") ?? "This";
const plain = (number) => number.toLocaleString("en", { maximumFractionDigits: 6, useGrouping: false });

function faultOf(field) {
  if (field.validity.badInput) return `${name(field)}: a number is wanted here.`;
  if (field.value === "") return "";
  const value = Number(field.value);
  const [low, high, step] = [field.min, field.max, field.step].map(Number);
  if (field.min !== "" && value < low) return `${name(field)}: ${plain(value)} is too small, from ${plain(low)} to ${plain(high)} is possible.`;
  if (field.max !== "" && value > high) return `${name(field)}: ${plain(value)} is too large, from ${plain(low)} to ${plain(high)} is possible.`;
  if (step === 8 && value % step) return `${name(field)}: ${plain(value)} is not a multiple of ${step}, ${plain(nearest(value, step, low))} is.`;
  if (field.step !== "any" && Number.isInteger(step || 1) && !Number.isInteger(value)) return `${name(field)}: a whole number is wanted here.`;
  return "";
}

const nearest = (value, step, low) => Math.max(low, Math.round(value / step) * step);

function seedFault(field) {
  const text = field.value.trim();
  if (["", "-1", "random"].includes(text.toLowerCase())) return "";
  const good = /^\d+$/.test(text) && Number(text) <= SEED.high;
  return good ? "" : `A seed is a whole number from ${SEED.low} to ${SEED.high}, or empty for a new one each time.`;
}

function show(field) {
  const fault = field.type === "number" ? faultOf(field) : seedFault(field);
  const block = field.closest(".block[id]");
  let line = document.getElementById(`${block.id}-fault`);
  if (!fault) {
    line?.remove();
    field.removeAttribute("aria-invalid");
    return field.removeAttribute("aria-describedby");
  }
  if (!line) {
    line = h("p", { class: "easel-field-fault", id: `${block.id}-fault`, role: "alert" });
    // Beneath the whole line, so that what stands beside the field stays where it is.
    (field.closest(".easel-line") ?? block).after(line);
  }
  if (line.textContent !== fault) line.textContent = fault;
  field.setAttribute("aria-invalid", "true");
  field.setAttribute("aria-describedby", line.id);
}

const fields = () => [...document.querySelectorAll(NUMBERS), ...document.querySelectorAll("#easel-seed :is(input, textarea)")];

// While somebody writes, a field that is good again loses its sentence, and gets none before it is left.
export function checkFields() {
  for (const field of fields()) {
    if (field !== document.activeElement || field.hasAttribute("aria-invalid")) show(field);
  }
}

document.addEventListener("blur", leave, true);
document.addEventListener("focusout", ({ target }) => target.closest?.("#easel-seed") && show(target));
