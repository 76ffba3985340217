// Numbers of the form that others go by: the size of the picture and the steps.

const PLAIN = { width: 512, height: 512, steps: 20 };

export function formNumber(name) {
  const value = Number(document.querySelector(`#easel-${name} input[type=number]`)?.value);
  return Number.isFinite(value) && value > 0 ? Math.round(value) : PLAIN[name];
}

export const pictureSize = () => ({ width: formNumber("width"), height: formNumber("height") });

// Gradio fills fields without an event, so they are looked at now and then.
export function watchNumbers(heard) {
  const read = () => Object.keys(PLAIN).map(formNumber).join();
  let last = read();
  setInterval(() => {
    if (document.hidden || read() === last) return;
    last = read();
    heard();
  }, 500);
}
