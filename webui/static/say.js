// Short sentences at the foot of the page, with at most one thing to do about them.

import { h } from "./dom.js";

let shelf = null;

// Behind an open dialog nothing can be clicked, so the shelf stands in it.
function stand() {
  const place = [...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body;
  if (shelf.parentElement !== place) place.append(shelf);
}

// An error in words: what is wrong, and what to do.
export const inFull = ({ message, hint }) => [message, hint].filter(Boolean).join(" ");

// `stay`: milliseconds, or true to stay until it is closed.
export function say(text, { kind = "info", action = null, onAction = null, stay = null } = {}) {
  if (!shelf) {
    shelf = h("div", { class: "easel-shelf", role: "status", "aria-live": "polite" });
    // A closed dialog shows nothing.
    document.addEventListener("close", () => stand(), true);
  }
  stand();
  // One sentence stands there once; what can be undone is another each time.
  if (!action) for (const old of [...shelf.children].filter((each) => each.dataset.text === text)) old.remove();
  for (const old of [...shelf.children].slice(0, -2)) old.remove();
  const slip = h("div", { class: "easel-slip", "data-kind": kind, "data-text": action ? null : text }, h("span", { text }));
  const away = () => slip.remove();
  if (action) {
    slip.append(
      h("button", {
        type: "button",
        text: action,
        onclick: () => {
          away();
          onAction();
        },
      }),
    );
  }
  slip.append(h("button", { type: "button", class: "easel-slip-close", "aria-label": "Close", text: "×", onclick: away }));
  shelf.append(slip);
  // Time to read, and to undo; a pointer or the focus on it keeps it.
  let timer = null;
  const start = () => {
    if (stay !== true) timer = setTimeout(away, stay || (action || kind === "error" ? 9000 : 4500));
  };
  const hold = () => clearTimeout(timer);
  slip.addEventListener("pointerenter", hold);
  slip.addEventListener("pointerleave", start);
  slip.addEventListener("focusin", hold);
  slip.addEventListener("focusout", start);
  start();
  return away;
}
