// The picture of an adapter: its preview, or a quiet pattern of its own with its first letters.

import { h } from "./dom.js";

// Names that differ in one letter differ in colour.
const hue = (text) => ([...text].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 9973, 7) * 137) % 360;

export function adapterPicture(view, { wide = false } = {}) {
  if (view?.has_preview) {
    const address = `/api/v1/adapters/${encodeURIComponent(view.id)}/preview?w=384&at=${Math.round(view.modified_at)}`;
    const picture = h("img", { src: address, alt: "", loading: "lazy", decoding: "async", class: "easel-adapter-picture" });
    picture.addEventListener("error", () => picture.replaceWith(placeholder(view, wide)), { once: true });
    return picture;
  }
  return placeholder(view, wide);
}

function placeholder(view, wide) {
  const title = view?.title ?? "?";
  const letters = title.split(/[\s_\-.]+/).filter(Boolean).slice(0, 2).map((word) => [...word][0].toUpperCase()).join("");
  const made = h("span", { class: "easel-adapter-picture easel-adapter-blank", "aria-hidden": "true" }, h("span", { text: letters || "?" }));
  made.style.setProperty("--hue", String(hue(title)));
  made.classList.toggle("easel-wide-blank", wide);
  return made;
}
