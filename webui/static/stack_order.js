// The order of the rows: dragged by the grip, or moved with the arrow keys while the grip has the focus.

import { titleOf } from "./shelf.js";
import { stack } from "./stack.js";

const STEPS = { ArrowUp: -1, ArrowDown: 1, Home: -Infinity, End: Infinity };

export function orderable(list, rows, told) {
  list.addEventListener("keydown", (event) => {
    const grip = event.target.closest(".easel-grip");
    if (!grip || !(event.key in STEPS)) return;
    event.preventDefault();
    const key = Number(grip.closest("li").dataset.key);
    const place = stack.rows.findIndex((row) => row.key === key);
    const to = Math.max(0, Math.min(stack.rows.length - 1, place + STEPS[event.key]));
    if (!stack.move(key, to)) return;
    rows.get(key)?.grip.focus();
    told(`${titleOf(stack.find(key).name)} is now ${to + 1} of ${stack.rows.length}.`);
  });
  list.addEventListener("pointerdown", (event) => {
    const grip = event.target.closest(".easel-grip");
    if (!grip || event.button !== 0) return;
    event.preventDefault();
    grip.focus({ preventScroll: true });
    drag(list, grip.closest("li"), event.clientY);
  });
}

function drag(list, item, start) {
  let offset = start - item.getBoundingClientRect().top;
  item.classList.add("easel-dragged");
  const move = (event) => {
    // The dragged row itself is never taken out of the page: its neighbours change sides.
    const shift = () => {
      item.style.translate = "";
      item.style.translate = `0 ${event.clientY - offset - item.getBoundingClientRect().top}px`;
    };
    shift();
    const { top, bottom } = item.getBoundingClientRect();
    const [before, after] = [item.previousElementSibling, item.nextElementSibling];
    if (before && top < middle(before)) item.after(before);
    else if (after && bottom > middle(after)) item.before(after);
    shift();
  };
  const end = (event) => {
    window.removeEventListener("pointermove", move);
    window.removeEventListener("pointerup", end);
    window.removeEventListener("pointercancel", end);
    item.classList.remove("easel-dragged");
    item.style.translate = "";
    const place = [...list.children].indexOf(item);
    if (event.type === "pointercancel" || !stack.move(Number(item.dataset.key), place)) stack.tell("rows");
  };
  window.addEventListener("pointermove", move);
  window.addEventListener("pointerup", end);
  window.addEventListener("pointercancel", end);
}

const middle = (element) => {
  const { top, height } = element.getBoundingClientRect();
  return top + height / 2;
};
