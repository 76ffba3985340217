// Numbers of the form that others go by: the size of the picture and the steps.

import { live } from "./live.js";
import { settled } from "./timing.js";

// Several fields are often filled at once.
const PAUSE = 60;
const PLAIN = { width: 512, height: 512, steps: 20 };

export function formNumber(name) {
  const value = Number(document.querySelector(`#easel-${name} input[type=number]`)?.value);
  return Number.isFinite(value) && value > 0 ? Math.round(value) : PLAIN[name];
}

export const pictureSize = () => ({ width: formNumber("width"), height: formNumber("height") });

export function watchNumbers(heard) {
  const read = () => Object.keys(PLAIN).map(formNumber).join();
  let last = read();
  live.addEventListener(
    "touched",
    settled(() => {
      if (read() === last) return;
      last = read();
      heard();
    }, PAUSE),
  );
}
