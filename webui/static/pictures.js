// Things one can do with a finished picture, used by the stage, the viewer and the history.

import { api, signal } from "./api.js";
import { h, pictureUrl, saveAs, tool } from "./dom.js";
import { live } from "./live.js";
import { say } from "./say.js";

export async function deletePictures(images) {
  const ids = images.map((image) => image.id);
  await api.deletePictures(ids);
  live.on_history({ image_ids: ids, action: "deleted" });
  say(ids.length === 1 ? "Picture deleted." : `${ids.length} pictures deleted.`, {
    action: "Undo",
    onAction: async () => {
      await api.restorePictures(ids);
      live.on_history({ image_ids: ids, action: "restored" });
    },
  });
}

export async function toggleFavourite(image) {
  const marked = await api.markPicture(image.id, !image.favourite);
  live.replaceImage(marked);
  return marked;
}

function recall(image) {
  signal("recall", { spec: image.spec, infotext: image.infotext });
}

export async function copyText(text, said) {
  try {
    await navigator.clipboard.writeText(text);
    say(said);
  } catch {
    say("The browser does not let this page copy.", { kind: "error" });
  }
}

export function showTab(id) {
  const name = { txt2img: "Text to image", adapters: "Adapters", controlnet: "ControlNet", merge: "Merge", history: "History", memory: "Memory" }[id];
  // On a narrow page some tabs stand in a menu.
  const tab = [...document.querySelectorAll('#easel-tabs :is(button[role="tab"], .overflow-dropdown button)')].find(
    (button) => button.textContent.trim() === name,
  );
  tab?.click();
}

// The row of buttons under a picture. `after` is called with what happened.
export function pictureTools(image, { after = () => {} } = {}) {
  return h(
    "div",
    { class: "easel-actions", role: "toolbar", "aria-label": "This picture" },
    tool(
      "recall",
      "Use its settings",
      () => {
        recall(image);
        after("recalled");
      },
      { wide: true },
    ),
    tool("enlarge", "Enlarge it 2 times: another picture beside this one", async () => {
      live.learn(await api.enlargePicture(image.id, 2));
      say("The picture is being enlarged; it will stand beside the others.");
      after("enlarged");
    }),
    tool("download", "Download", () => saveAs(pictureUrl(image), image.name)),
    tool("copy", "Copy its infotext", () => copyText(image.infotext, "Infotext copied.")),
    tool(
      "star",
      image.favourite ? "No favourite any more" : "Favourite",
      async () => after("marked", await toggleFavourite(image)),
      { pressed: image.favourite },
    ),
    tool("bin", "Delete", async () => {
      await deletePictures([image]);
      after("deleted");
    }),
  );
}

// Small pictures are shown larger: smooth by default, or with crisp pixels.
export function scaling() {
  return localStorage.getItem("easel-scaling") === "pixels" ? "pixels" : "smooth";
}

export function applyScaling(value = scaling()) {
  localStorage.setItem("easel-scaling", value);
  document.documentElement.dataset.easelScaling = value;
}
