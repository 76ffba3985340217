// A pad to draw a unit's picture: brush, eraser, undo; on black (a finished hint), on white, or on the unit's picture.

import { h, tool } from "./dom.js";
import { Drawing } from "./drawing.js";
import { pick } from "./control_fields.js";
import { say } from "./say.js";

// Each: id, words, ground, brush, and the preprocessor that makes a hint of it (null leaves the unit's own).
const PAPERS = {
  black: { words: "black: white lines are a hint already", ground: "#000000", brush: "#ffffff", hint: "none" },
  white: { words: "white: dark lines, inverted for the hint", ground: "#ffffff", brush: "#000000", hint: "invert" },
  picture: { words: "the unit's picture", ground: "#ffffff", brush: "#000000", hint: null },
};
const SMALLEST_SIDE = 512;
let pad = null;

// `beneath` is the address of the unit's picture, or null; `done` is called with {blob, hint}.
export function drawPicture({ size, beneath }, done) {
  pad ??= new DrawingPad();
  pad.open(size, beneath, done);
}

class DrawingPad {
  constructor() {
    this.canvas = h("canvas", { class: "easel-pad-canvas", "aria-label": "Drawing; with the pointer, a pen or a finger" });
    this.drawing = new Drawing(this.canvas);
    this.tracing = h("img", { class: "easel-pad-tracing", alt: "", hidden: true });
    this.brush = tool("brush", "Brush (B)", () => this.use("brush"), { pressed: true });
    this.eraser = tool("eraser", "Eraser (E)", () => this.use("eraser"), { pressed: false });
    this.colour = h("input", { type: "color", class: "easel-pad-colour", title: "Colour of the brush", "aria-label": "Colour of the brush", value: "#ffffff" });
    this.size = h("input", { type: "range", min: 1, max: 100, value: 12, "aria-label": "Width of the brush", title: "Width of the brush; the keys [ and ] change it" });
    this.undo = tool("undo", "Undo (Ctrl+Z)", () => this.drawing.undo());
    this.redo = tool("redo", "Redo (Ctrl+Y)", () => this.drawing.redo());
    this.clear = tool("bin", "Clear (can be undone)", () => this.drawing.clear());
    this.paper = pick("Paper", "What you draw on.", (paper) => this.lay(paper));
    this.trace = h("input", { type: "checkbox", role: "switch", class: "easel-switch", onchange: () => (this.tracing.hidden = !this.trace.checked) });
    this.traceLabel = h("label", { class: "easel-unit-turn", title: "Shows the unit's picture faintly, to be traced. It is not part of the drawing." }, this.trace, h("span", { text: "trace the picture" }));
    this.take = h("button", { type: "button", class: "easel-tool easel-wide easel-strong", text: "Use the drawing", onclick: () => this.finish() });
    this.frame = h("div", { class: "easel-pad-frame" }, this.canvas, this.tracing);
    this.element = h(
      "dialog",
      { class: "easel-plot-dialog easel-pad", "aria-label": "Draw a picture", onkeydown: (event) => this.key(event) },
      h("header", {}, h("h3", { text: "Draw" }), tool("close", "Close", () => this.element.close())),
      h("div", { class: "easel-pad-tools", role: "toolbar", "aria-label": "Drawing" }, this.brush, this.eraser, this.colour, this.size, this.undo, this.redo, this.clear, this.paper.element, this.traceLabel),
      this.frame,
      h("div", { class: "easel-plot-line" }, h("span", { class: "easel-hint", text: "A scribble is enough: clear outlines, one thing in the middle." }), this.take),
    );
    this.listen();
    document.body.append(this.element);
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      event.preventDefault();
      canvas.setPointerCapture(event.pointerId);
      this.drawing.begin(this.using === "eraser" ? null : this.colour.value, this.width(), this.point(event));
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!canvas.hasPointerCapture(event.pointerId)) return;
      for (const each of event.getCoalescedEvents?.() ?? [event]) this.drawing.go(this.point(each));
    });
    canvas.addEventListener("painted", () => {
      this.undo.disabled = !this.drawing.strokes.length;
      this.redo.disabled = !this.drawing.undone.length;
      this.take.disabled = this.drawing.empty;
    });
  }

  open(size, beneath, done) {
    this.done = done;
    // Small results are drawn larger, so that lines can be fine.
    const scale = Math.max(1, SMALLEST_SIDE / Math.min(size.width, size.height));
    this.drawing.reset(Math.round(size.width * scale), Math.round(size.height * scale));
    this.frame.style.setProperty("--ratio", `${size.width / size.height}`);
    this.beneath = beneath;
    this.tracing.hidden = true;
    this.trace.checked = false;
    this.traceLabel.hidden = !beneath;
    if (beneath) this.tracing.src = beneath;
    this.lay("black");
    this.use("brush");
    this.element.showModal();
  }

  lay(name) {
    const paper = PAPERS[name];
    this.paperName = name;
    this.drawing.ground = paper.ground;
    this.drawing.base = name === "picture" ? this.tracing : null;
    this.colour.value = paper.brush;
    const given = Object.entries(PAPERS).filter(([id]) => id !== "picture" || this.beneath);
    this.paper.show([[null, given.map(([id, { words }]) => [id, words])]], name);
    this.drawing.paint();
  }

  use(what) {
    this.using = what;
    this.brush.setAttribute("aria-pressed", String(what === "brush"));
    this.eraser.setAttribute("aria-pressed", String(what === "eraser"));
  }

  // The brush is as wide for a large sheet as it is for a small one.
  width() {
    return Math.max(1, (Number(this.size.value) / 512) * Math.min(this.canvas.width, this.canvas.height));
  }

  point(event) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    return { x: ((event.clientX - left) / width) * this.canvas.width, y: ((event.clientY - top) / height) * this.canvas.height };
  }

  key(event) {
    if (event.target.matches("select, input[type=color]")) return;
    const command = event.ctrlKey || event.metaKey;
    const act = command
      ? { z: () => (event.shiftKey ? this.drawing.redo() : this.drawing.undo()), y: () => this.drawing.redo() }[event.key.toLowerCase()]
      : { b: () => this.use("brush"), e: () => this.use("eraser"), "[": () => (this.size.value = Number(this.size.value) - 4), "]": () => (this.size.value = Number(this.size.value) + 4) }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  finish() {
    this.canvas.toBlob((blob) => {
      if (!blob) return say("The browser cannot make a picture of this drawing.", { kind: "error" });
      this.element.close();
      this.done({ blob, hint: PAPERS[this.paperName].hint });
    }, "image/png");
  }
}
