// What an adapter does to a picture: the same seed without it, at half weight, at full weight and with its words, and
// how far the pictures lie apart.

import { specOfForm } from "./api.js";
import { h, thumbUrl } from "./dom.js";
import { live } from "./live.js";
import { PaintedCell } from "./painted_cell.js";
import { inFull } from "./say.js";
import { seedFor } from "./stage.js";

const SIDE = 64;
const FALLBACK = "a red apple";

export function trialPart(view) {
  const body = h("div", { class: "easel-trial" });
  const ask = h("button", { type: "button", class: "easel-tool easel-wide", text: "Try it on your prompt", title: "Paints three or four pictures with one seed: without it, at half weight, at full weight, with its trigger words" });
  ask.addEventListener("click", () => run(view, body, ask));
  return h("section", { class: "easel-drawer-part" }, h("h4", { text: "What does it do to a picture?" }), h("div", { class: "easel-buttons" }, ask), body);
}

async function run(view, body, ask) {
  const spec = await specOfForm();
  if (!spec) return;
  ask.disabled = true;
  const plain = without(spec.prompt || "", view.trigger_words) || FALLBACK;
  const seed = seedFor(spec);
  const cells = [
    { text: "without", weight: null },
    { text: "weight 0.5", weight: 0.5 },
    { text: "weight 1", weight: 1 },
    ...(view.trigger_words.length ? [{ text: "weight 1 and its words", weight: 1, words: true }] : []),
  ];
  const told = h("p", { class: "easel-hint", role: "status", text: `Painting ${cells.length} pictures with seed ${seed}…` });
  for (const cell of cells) cell.picture = new PaintedCell(cell.text);
  const pictures = cells.map(({ picture }) => picture);
  body.replaceChildren(h("div", { class: "easel-trial-row" }, ...cells.map(({ text, picture }) => h("figure", {}, picture.element, h("figcaption", { text })))), told);
  try {
    for (const cell of cells) {
      const adapters = cell.weight === null ? [] : [{ name: view.id, unet_weight: cell.weight, add_trigger_words: false }];
      const prompt = cell.words ? [plain, ...view.trigger_words.slice(0, 3)].join(", ") : plain;
      await cell.picture.paint({ ...spec, prompt, adapters, controls: [], styles: [], seed }, { quiet: true });
    }
    await Promise.all(pictures.map(painted));
    told.textContent = sentence(await Promise.all(pictures.map(({ image }) => pixels(thumbUrl(image, 240)))));
  } catch (error) {
    told.textContent = inFull(error);
  }
  ask.disabled = false;
}

function painted(picture) {
  return new Promise((resolve, reject) => {
    const look = () => {
      picture.update();
      if (picture.open) return;
      live.removeEventListener("jobs", look);
      if (picture.image) resolve();
      else reject(picture.view?.error ?? new Error("The pictures were canceled."));
    };
    live.addEventListener("jobs", look);
    look();
  });
}

// The share by which two pictures differ: the mean distance of their colours, 0…1.
const apart = (one, other) => one.reduce((sum, value, place) => sum + Math.abs(value - other[place]), 0) / one.length / 255;

async function pixels(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  const canvas = Object.assign(document.createElement("canvas"), { width: SIDE, height: SIDE });
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(image, 0, 0, SIDE, SIDE);
  return pen.getImageData(0, 0, SIDE, SIDE).data.filter((_, place) => place % 4 !== 3);
}

function sentence([bare, half, full, worded]) {
  const whole = apart(bare, full);
  const parts = [`At weight 1 the colours move by ${(100 * whole).toFixed(1)} %`];
  if (whole > 0) parts.push(`half the weight does ${Math.round((100 * apart(bare, half)) / whole)} % of that`);
  if (worded) parts.push(`its trigger words move them by a further ${(100 * apart(full, worded)).toFixed(1)} %`);
  return `${parts.join("; ")}.`;
}

function without(prompt, words) {
  let text = prompt.replace(/<(?:lora|lyco)[^>]*>/gi, "");
  for (const word of words) {
    const safe = word.trim().replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
    if (safe) text = text.replace(new RegExp(`,?\\s*(?<![\\p{L}\\p{N}_])${safe}(?![\\p{L}\\p{N}_])`, "giu"), "");
  }
  return text.replace(/^[\s,]+|[\s,]+$/g, "");
}
