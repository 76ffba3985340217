// The picture that the form describes: what it would take, stage by stage, what of it is models, and the largest that fits.

import { h } from "./dom.js";
import { sentence } from "./memory_hint.js";
import { need } from "./memory_need.js";
import { inWords } from "./memory_words.js";
import { showTab } from "./pictures.js";

const BANDS = {
  model: ["Model", "Its weights, as far as they are needed at the same time"],
  adapters: ["Adapters", "Weights of adapters that stay beside the model’s"],
  controls: ["ControlNets", "Their weights"],
  pinned: ["Pinned", "What else stays loaded"],
  activations: ["The picture itself", "What the networks compute with while they work: it grows with size and batch"],
  workspace: ["Workspace", "Scratch memory of the graphics card’s kernels"],
  free: ["Still free", "What stays free beside it"],
  margin: ["Margin", "Never used, so that small surprises do no harm"],
};
const STAGES = { encode: "Read the prompt", denoise: "Paint", decode: "Turn into pixels", enlarge: "Enlarge" };

export class FormForecast {
  constructor() {
    this.lead = h("p", { class: "easel-memory-lead", role: "status" });
    this.bar = h("div", { class: "easel-memory-bar", role: "img" });
    this.legend = h("ul", { class: "easel-memory-legend" });
    this.stages = h("dl", { class: "easel-memory-facts" });
    this.fold = h("details", { class: "easel-fold" }, h("summary", { text: "Stage by stage" }), this.stages);
    this.open = h("button", { type: "button", class: "easel-tool easel-wide", text: "Text to image", title: "Back to the form", onclick: () => showTab("txt2img") });
    this.element = h("section", { class: "easel-card easel-memory-card", "aria-label": "The next picture" }, h("header", {}, h("h3", { text: "The next picture" }), this.open), this.lead, this.bar, this.legend, this.fold);
    this.update();
  }

  update() {
    const { forecast } = need;
    for (const element of [this.bar, this.legend, this.fold]) element.hidden = !forecast;
    delete this.element.dataset.fits;
    if (!forecast) {
      this.lead.textContent = "What the form of Text to image asks for is forecast here.";
      return;
    }
    this.element.dataset.fits = String(forecast.fits);
    this.lead.textContent = `${whatFor(need.spec, forecast)} ${sentence(forecast)} ${largest(forecast)}`.trim();
    const bands = forecast.bands.filter(({ nbytes }) => nbytes > 0);
    this.bar.replaceChildren(...bands.map(({ name, nbytes }) => piece(name, nbytes)));
    this.bar.setAttribute("aria-label", bands.map(({ name, nbytes }) => `${BANDS[name]?.[0] ?? name} ${inWords(nbytes)}`).join(", "));
    this.legend.replaceChildren(...bands.map(({ name, nbytes }) => h("li", { title: BANDS[name]?.[1] }, h("i", { "data-kind": name }), h("span", { text: BANDS[name]?.[0] ?? name }), h("span", { text: inWords(nbytes) }))));
    this.stages.replaceChildren(
      ...forecast.stages.flatMap((stage) => [
        h("dt", { text: STAGES[stage.stage] ?? stage.stage }),
        h("dd", { text: `${inWords(stage.peak)}: weights ${inWords(stage.weights)}, the picture ${inWords(stage.activations)}${stage.workspace ? `, workspace ${inWords(stage.workspace)}` : ""}` }),
      ]),
      ...(forecast.ram ? [h("dt", { text: "In RAM" }), h("dd", { text: inWords(forecast.ram) })] : []),
      h("dt", { text: "Based on" }),
      h("dd", { text: forecast.measured ? "pictures that were painted on this machine" : "the model’s files; it learns from each picture" }),
    );
  }
}

function piece(name, nbytes) {
  const element = h("i", { "data-kind": name, title: `${BANDS[name]?.[0] ?? name}: ${inWords(nbytes)}` });
  element.style.flexGrow = String(nbytes);
  return element;
}

function whatFor(spec, { model }) {
  const count = Math.min(spec.count, spec.batch_size);
  const size = spec.width && spec.height ? `${spec.width} × ${spec.height}` : "the model’s own size";
  const name = document.querySelector("#easel-model input")?.value || model;
  return `${name}, ${size}${count > 1 ? `, ${count} at a time` : ""}.`;
}

function largest({ fits, largest_width: width, largest_height: height, largest_batch: batch }) {
  if (!fits || !width) return "";
  return `The largest of this shape that fits is ${width} × ${height}${batch > 1 ? `, and ${batch} of this size at a time` : ""}.`;
}
