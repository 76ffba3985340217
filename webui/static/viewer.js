// One picture, large, with its settings; arrow keys go through the list it was opened from.

import { h, pictureUrl, tool, when } from "./dom.js";
import { live } from "./live.js";
import { pictureTools, showTab } from "./pictures.js";

let dialog = null;
let images = [];
let at = 0;
let more = null;

// Open the picture `id` out of `list`; `loadMore` may answer further pictures when the end is reached.
export function openViewer(list, id, { loadMore = null } = {}) {
  images = [...list];
  at = Math.max(0, images.findIndex((image) => image.id === id));
  more = loadMore;
  build();
  draw();
  if (!dialog.open) dialog.showModal();
  dialog.querySelector(".easel-viewer-close").focus();
}

function build() {
  if (dialog) return;
  dialog = h(
    "dialog",
    { class: "easel-viewer", "aria-label": "Picture" },
    h("div", { class: "easel-viewer-picture" }),
    h("aside", { class: "easel-viewer-side" }),
  );
  dialog.addEventListener("keydown", (event) => {
    if (event.target.matches("input, textarea")) return;
    if (event.key === "ArrowLeft") go(-1);
    else if (event.key === "ArrowRight") go(1);
    else return;
    event.preventDefault();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  live.addEventListener("marked", ({ detail }) => {
    const place = images.findIndex((image) => image.id === detail.id);
    if (place >= 0) images[place] = detail;
    if (dialog.open && place === at) draw();
  });
  document.body.append(dialog);
}

async function go(by) {
  if (at + by >= images.length && more) {
    const fresh = await more();
    images.push(...fresh.filter((image) => !images.some((known) => known.id === image.id)));
  }
  const next = at + by;
  if (next < 0 || next >= images.length) return;
  at = next;
  draw();
}

function draw() {
  const image = images[at];
  const picture = h("img", { src: pictureUrl(image), alt: image.spec.prompt || "Picture without a prompt" });
  picture.style.setProperty("--ratio", String(image.width / image.height));
  picture.style.setProperty("--longest", `${Math.max(768, Math.max(image.width, image.height))}px`);
  const back = tool("left", "Picture before", () => go(-1));
  const on = tool("right", "Next picture", () => go(1));
  back.disabled = at === 0;
  on.disabled = at === images.length - 1 && !more;
  back.classList.add("easel-back");
  on.classList.add("easel-on");
  dialog.querySelector(".easel-viewer-picture").replaceChildren(back, picture, on);
  const close = tool("close", "Close", () => dialog.close());
  close.classList.add("easel-viewer-close");
  const hadFocus = dialog.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
  const side = [
    h("header", {}, h("span", { class: "easel-quiet", text: when(image.created_at) }), close),
    h("p", { class: "easel-viewer-prompt", text: image.spec.prompt || "No prompt" }),
    image.spec.negative_prompt ? h("p", { class: "easel-quiet", text: `Not: ${image.spec.negative_prompt}` }) : null,
    pictureTools(image, { after }),
    facts(image),
  ];
  dialog.querySelector(".easel-viewer-side").replaceChildren(...side.filter(Boolean));
  if (hadFocus) [...dialog.querySelectorAll("button")].find((button) => button.getAttribute("aria-label") === hadFocus)?.focus();
}

function after(what, detail) {
  if (what === "recalled") {
    dialog.close();
    showTab("txt2img");
  }
  if (what === "marked") {
    images[at] = detail;
    draw();
  }
  if (what === "deleted") {
    images.splice(at, 1);
    if (!images.length) return dialog.close();
    at = Math.min(at, images.length - 1);
    draw();
  }
}

function facts(image) {
  const { spec } = image;
  const rows = [
    ["Model", spec.model],
    ["Sampler", [spec.sampler, spec.schedule].filter(Boolean).join(" · ")],
    ["Steps", spec.steps],
    ["Guidance", spec.guidance],
    ["Size", `${image.width} × ${image.height}`],
    ["Seed", image.seed],
    ["Clip skip", spec.clip_skip > 1 ? spec.clip_skip : null],
    ["VAE", spec.vae],
    ["Adapters", spec.adapters?.filter((ref) => ref.enabled).map(adapterWords).join(", ")],
    ["Styles", spec.styles?.join(", ")],
    ["Made in", image.seconds ? `${image.seconds.toFixed(1)} s` : null],
    ["File", image.name],
  ].filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h("dl", { class: "easel-settings-list" }, ...rows.flatMap(([name, value]) => [h("dt", { text: name }), h("dd", { text: String(value) })]));
}

function adapterWords({ name, unet_weight: unet, text_weight: text }) {
  return text === null || text === undefined || text === unet ? `${name} ${unet}` : `${name} ${unet} / ${text}`;
}
