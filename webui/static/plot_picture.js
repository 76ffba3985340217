// The finished grid as one picture with its labels, put together here in the browser.

import { h, pictureUrl, saveFile } from "./dom.js";
import { say } from "./say.js";

const GAP = 8;
const LARGEST = 512;

// `images`: the pictures line by line; null where one is missing.
export async function savePlot(plan, images) {
  const columns = plan.x.values.length;
  const lines = images.length / columns;
  const scale = Math.min(LARGEST / Math.max(plan.width, plan.height), Math.max(1, 256 / Math.max(plan.width, plan.height)));
  const [width, height] = [Math.round(plan.width * scale), Math.round(plan.height * scale)];
  const size = Math.max(14, Math.round(width / 14));
  const left = plan.y ? size * 9 : GAP;
  const top = size * 2.4;
  const canvas = h("canvas", { width: left + columns * (width + GAP) + GAP, height: top + lines * (height + GAP) + GAP });
  const paper = canvas.getContext("2d");
  paper.fillStyle = "#ffffff";
  paper.fillRect(0, 0, canvas.width, canvas.height);
  paper.fillStyle = "#26231f";
  paper.font = `${size}px system-ui, sans-serif`;
  paper.textBaseline = "middle";
  paper.textAlign = "center";
  plan.x.values.forEach((value, place) => paper.fillText(`${plan.x.title} ${value}`, left + place * (width + GAP) + width / 2, top / 2, width));
  paper.textAlign = "right";
  plan.y?.values.forEach((value, place) => paper.fillText(`${plan.y.title} ${value}`, left - size / 2, top + place * (height + GAP) + height / 2, left - size));
  for (const [place, image] of images.entries()) {
    if (!image) continue;
    const picture = await load(pictureUrl(image));
    if (picture) paper.drawImage(picture, left + (place % columns) * (width + GAP), top + Math.floor(place / columns) * (height + GAP), width, height);
  }
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  if (!blob) return say("The browser cannot make a picture of this size.", { kind: "error" });
  saveFile(blob, `weights-seed-${plan.seed}.png`);
}

function load(address) {
  return new Promise((resolve) => {
    const picture = new Image();
    picture.addEventListener("load", () => resolve(picture));
    picture.addEventListener("error", () => resolve(null));
    picture.src = address;
  });
}
