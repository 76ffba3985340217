// A unit's picture beside the hint that is made of it. The picture is chosen, dropped, pasted, taken from the history or drawn.

import { assetUrl, keepFinished, keepPicture, pictureIn, sayNoPicture } from "./assets.js";
import { h, tool } from "./dom.js";
import { drawPicture } from "./drawing_pad.js";
import { pictureSize } from "./form_numbers.js";
import { controls } from "./control_shelf.js";
import { hints } from "./hints.js";
import { choosePicture } from "./picture_picker.js";
import { units } from "./control_units.js";

const WANTED = {
  canny: "thin white outlines on black", depth: "a depth map: near is light, far is dark", openpose: "a coloured stick figure on black", scribble: "white lines on black",
  lineart: "white lines on black", softedge: "soft white outlines on black", mlsd: "straight white lines on black", normal: "a normal map", seg: "coloured regions",
};
const FITS = { crop: "cover", fill: "contain", stretch: "fill" };
// How CSS fits a hint into the shape of the result.
export const fitOf = (row) => FITS[row.resize] ?? "cover";

export class ControlWells {
  constructor(row) {
    this.row = row;
    this.input = h("input", { type: "file", accept: "image/*", class: "easel-file", "aria-label": "Choose a picture", onchange: () => this.take(this.input.files[0]).finally(() => (this.input.value = "")) });
    this.shown = h("img", { alt: "The unit's picture", hidden: true });
    this.invite = h("span", { class: "easel-well-words" }, h("strong", { text: "Picture" }), h("span", { text: "click, drop or paste" }));
    this.picture = h("label", { class: "easel-well easel-well-picture", title: "Click to choose a picture; or drop one here, or paste one" }, this.input, this.shown, this.invite);
    this.hint = h("img", { alt: "The hint", hidden: true });
    this.words = h("span", { class: "easel-well-words" });
    this.frame = h("div", { class: "easel-well easel-well-hint" }, this.hint, this.words);
    this.save = h("a", { class: "easel-tool", title: "Save the hint", "aria-label": "Save the hint", hidden: true }, ...tool("download", "", () => {}).childNodes);
    this.caption = h("span", { class: "easel-unit-words easel-hint-facts", role: "status" });
    const tools = h(
      "div",
      { class: "easel-well-tools" },
      tool("picture", "Take a picture of the history", () => this.chooseOld()),
      tool("brush", "Draw it", () => this.draw()),
      (this.empty = tool("close", "Take the picture out", () => units.set(row.key, { image: "", drawn: false }))),
    );
    this.raw = h("p", { class: "easel-unit-words easel-wells-line", hidden: true });
    this.element = h("div", { class: "easel-wells" }, this.picture, this.frame, tools, h("div", { class: "easel-well-tools" }, this.caption, this.save), this.raw);
    this.watchDrop();
  }

  watchDrop() {
    const { picture } = this;
    const over = (on) => picture.classList.toggle("easel-over", on);
    picture.addEventListener("dragover", (event) => {
      event.preventDefault();
      over(true);
    });
    picture.addEventListener("dragleave", () => over(false));
    picture.addEventListener("drop", (event) => {
      over(false);
      const file = pictureIn(event.dataTransfer);
      event.preventDefault();
      if (!file) return sayNoPicture(event.dataTransfer);
      this.take(file);
    });
  }

  chooseOld() {
    choosePicture((image) => keepFinished(image).then((ref) => this.put(ref)));
  }

  async take(file) {
    if (file) this.put(await keepPicture(file));
  }

  put(ref, change = {}) {
    if (ref) units.set(this.row.key, { image: ref, drawn: false, ...change });
  }

  draw() {
    const { row } = this;
    drawPicture({ size: pictureSize(), beneath: row.image ? assetUrl(row.image) : null }, async ({ blob, hint }) => {
      const drawn = hint === null ? {} : { preprocessor: hint, parameters: {}, drawn: true, ...(controls.get(row.model)?.hint_types.includes("scribble") ? { hint_type: "scribble" } : {}) };
      this.put(await keepPicture(blob), drawn);
    });
  }

  update() {
    const { row } = this;
    const { width, height } = pictureSize();
    source(this.shown, row.image ? assetUrl(row.image) : "");
    this.invite.hidden = Boolean(row.image);
    this.empty.hidden = !row.image;
    this.picture.classList.toggle("easel-missing", !row.image && !row.muted);
    const { state, view, fault } = hints.of(row);
    const hinted = row.kind === "controlnet";
    this.element.classList.toggle("easel-one-well", !hinted);
    this.frame.hidden = this.caption.parentElement.hidden = !hinted;
    // The frame has the shape of the result, so that one sees what is cut off.
    this.frame.style.aspectRatio = `${width} / ${height}`;
    this.hint.style.objectFit = fitOf(row);
    source(this.hint, view && state !== "failed" ? assetUrl(view.ref) : "");
    this.frame.dataset.state = state;
    this.words.hidden = state === "ready" || (state === "asking" && Boolean(view));
    this.words.textContent = { none: "The hint shows here.", asking: "Making the hint…", failed: fault }[state] ?? "";
    this.caption.textContent = state === "ready" ? facts(row, view) : "";
    this.raw.hidden = !taken(row);
    this.raw.textContent = taken(row);
    this.save.hidden = state !== "ready";
    if (state === "ready") {
      this.save.href = assetUrl(view.ref);
      this.save.download = `hint-${view.preprocessor}-${view.width}x${view.height}.png`;
    }
  }
}

function source(image, address) {
  if (image.getAttribute("src") !== address) image.setAttribute("src", address);
  if (!address) image.removeAttribute("src");
  image.hidden = !address;
}

// A picture that goes in as it is should be what the ControlNet knows.
function taken(row) {
  const { kind, image, preprocessor, drawn } = row;
  if (kind !== "controlnet") return "";
  const wanted = WANTED[controls.typeId(row)];
  return image && preprocessor === "none" && !drawn && wanted ? `Without a preprocessor the picture itself is the hint: it should be ${wanted}.` : "";
}

function facts(row, { width, height, cached, seconds }) {
  const size = `${width} × ${height}`;
  if (row.preprocessor === "none") return size;
  return cached || seconds < 0.05 ? size : `${size} · ${seconds.toFixed(1)} s`;
}
