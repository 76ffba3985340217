// Pictures that units refer to: kept by the studio under their content's hash.

import { api } from "./api.js";
import { pictureUrl } from "./dom.js";
import { say } from "./say.js";

const LARGEST = 25 * 1024 * 1024;

export const assetUrl = (ref) => `/api/v1/assets/${ref.replace(/^asset:/, "")}`;

// `hint`: what to do instead.
export function tooLarge(file, hint) {
  if (file.size <= LARGEST) return false;
  say(`This picture is larger than 25 MB. ${hint}`, { kind: "error" });
  return true;
}

// Answers the picture's reference, or null after a sentence.
export async function keepPicture(file) {
  if (!file || tooLarge(file, "Save it smaller, or as JPEG, and try again.")) return null;
  try {
    return (await api.putAsset(file)).ref;
  } catch {
    return null;
  }
}

// A finished picture of the studio as an asset.
export async function keepFinished(image) {
  try {
    const answer = await fetch(pictureUrl(image));
    if (answer.ok) return await keepPicture(await answer.blob());
  } catch {
    // The sentence below says it.
  }
  say("This picture cannot be read any more.", { kind: "error" });
  return null;
}

// What was dropped holds a file, but no picture: said, so that nobody waits for it.
export function sayNoPicture(transfer) {
  const other = [...(transfer?.files ?? [])][0];
  if (other) say(`“${other.name}” is not a picture. Take a PNG, JPEG, WebP, AVIF, GIF or BMP.`, { kind: "error" });
}

// The first picture among what was dropped or pasted.
export const pictureIn = (transfer) => [...(transfer?.files ?? [])].find((file) => file.type.startsWith("image/")) ?? null;
