// The prompt as the person sees it: words are put in and taken out as if they had been typed.

const box = () => document.querySelector("#easel-prompt textarea");
const setValue = Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set;

// Change a text box so that Gradio notices.
export function type(area, text, caret = null) {
  setValue.call(area, text);
  area.dispatchEvent(new Event("input", { bubbles: true }));
  if (caret !== null) area.setSelectionRange(caret, caret);
}

// A word stands for itself only between commas, brackets and spaces, not inside another word.
const place = (text, word) => {
  const safe = word.trim().replace(/[.*+?^${}()|[\]\\]/g, "\\$&").replace(/\s+/g, "\\s+");
  return safe ? new RegExp(`(?<![\\p{L}\\p{N}_])${safe}(?![\\p{L}\\p{N}_])`, "iu").exec(text) : null;
};

export const prompt = {
  text: () => box()?.value ?? "",

  has: (word) => Boolean(place(prompt.text(), word)),

  // Never twice; answers whether it was put in.
  add(word) {
    const area = box();
    if (!area || !word.trim() || prompt.has(word)) return false;
    const text = area.value.replace(/[\s,]+$/, "");
    type(area, text ? `${text}, ${word.trim()}` : word.trim());
    return true;
  },

  // With the comma that belongs to it.
  remove(word) {
    const area = box();
    const found = area && place(area.value, word);
    if (!found) return;
    const before = area.value.slice(0, found.index);
    const after = area.value.slice(found.index + found[0].length);
    const joined = /^\s*,/.test(after) ? before + after.replace(/^\s*,\s*/, "") : before.replace(/[\s,]+$/, "") + after;
    type(area, joined);
  },

  watch(heard) {
    document.addEventListener("input", (event) => event.target.matches?.("#easel-prompt textarea") && heard());
    // Filled by the form (examples, restore) there is no input event.
    let last = "";
    setInterval(() => {
      if (document.hidden || prompt.text() === last) return;
      last = prompt.text();
      heard();
    }, 1000);
  },
};
