// The order of the rows: dragged by the grip, or moved with the arrow keys while the grip has the focus.

const STEPS = { ArrowUp: -1, ArrowDown: 1, Home: -Infinity, End: Infinity };

// `order` is what is put in order: a list with its rows, find, move and tell; `nameOf` says how a row is called.
export function orderable(list, rows, told, { order, nameOf }) {
  list.addEventListener("keydown", (event) => {
    const grip = event.target.closest(".easel-grip");
    if (!grip || !(event.key in STEPS)) return;
    event.preventDefault();
    const key = Number(grip.closest("li").dataset.key);
    const place = order.rows.findIndex((row) => row.key === key);
    const to = Math.max(0, Math.min(order.rows.length - 1, place + STEPS[event.key]));
    if (!order.move(key, to)) return;
    rows.get(key)?.grip.focus();
    told(`${nameOf(order.find(key).name)} is now ${to + 1} of ${order.rows.length}.`);
  });
  list.addEventListener("pointerdown", (event) => {
    const grip = event.target.closest(".easel-grip");
    if (!grip || event.button !== 0) return;
    event.preventDefault();
    grip.focus({ preventScroll: true });
    drag(list, grip.closest("li"), event.clientY, order);
  });
}

function drag(list, item, start, order) {
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
    if (event.type === "pointercancel" || !order.move(Number(item.dataset.key), place)) order.tell("rows");
  };
  window.addEventListener("pointermove", move);
  window.addEventListener("pointerup", end);
  window.addEventListener("pointercancel", end);
}

const middle = (element) => {
  const { top, height } = element.getBoundingClientRect();
  return top + height / 2;
};
