// The merge that is being put together outlives a reload of the page, in this tab of the browser.

import { draft } from "./merge_draft.js";
import { settled } from "./timing.js";

const KEPT = "easel-merge-draft";
const WAIT = 300;

function keep() {
  later.cancel();
  const kept = draft.kept();
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(kept));
  } catch {
    // A browser keeps a few megabytes: the picture is the one large thing.
    sessionStorage.setItem(KEPT, JSON.stringify({ ...kept, metadata: { ...kept.metadata, thumbnail: null } }));
  }
}

const later = settled(keep, WAIT);

export function restoreDraft() {
  const kept = sessionStorage.getItem(KEPT);
  try {
    if (kept) draft.restore(JSON.parse(kept));
  } catch {
    // Another version of the page wrote it.
    sessionStorage.removeItem(KEPT);
  }
  draft.addEventListener("edited", later);
  addEventListener("pagehide", keep);
}
