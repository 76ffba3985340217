// <lora:name:weight:text weight> tags in the prompt, and how they become rows of the stack.

import { prompt, type } from "./prompt.js";
import { say } from "./say.js";
import { shelf } from "./shelf.js";
import { stack } from "./stack.js";

const TAG = /<(?:lora|lyco):([^:<>]+)(?::(-?[\d.]+))?(?::(-?[\d.]+))?>/gi;

export function promptTags(text) {
  return [...text.matchAll(TAG)].map(([tag, name, unet, words]) => ({ tag, name: name.trim(), unet: number(unet) ?? 1, text: number(words) }));
}

export async function takeTags(tags) {
  const area = document.querySelector("#easel-prompt textarea");
  for (const { tag, name, unet, text } of tags) {
    const view = await shelf.learn(name);
    if (!view) {
      say(`There is no adapter “${name}” in the library.`, { kind: "error" });
      continue;
    }
    const row = stack.holds(view.id) ?? stack.add(view, { weight: unet });
    stack.set(row.key, { unet_weight: unet, text_weight: text });
    type(area, prompt.text().replace(tag, "").replace(/\s{2,}/g, " ").replace(/(,\s*){2,}/g, ", ").replace(/[\s,]+$/, "").trimStart());
  }
}

const number = (written) => (written === undefined || !Number.isFinite(Number(written)) ? null : Number(written));
