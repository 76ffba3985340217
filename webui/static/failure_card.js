// Why something did not work, with ways out.

import { signal } from "./api.js";
import { h, tool } from "./dom.js";

export function failureCard(error, onClose = null) {
  const again = (action, text) => h("button", { type: "button", class: "easel-button", text, onclick: () => signal("remedy", { action }) });
  // Fewer steps help where the machine gave up; the model's values where a value was refused.
  const faults = ["out_of_memory", "generation_failed", "picture_not_finite", "job_gave_up", "internal"];
  const fewer = faults.includes(error.code);
  const defaults = fewer || /_out_of_range$|^size_|^combination_|^sampler_|^schedule_|^fraction_/.test(error.code);
  return h(
    "div",
    { class: "easel-error", role: "alert" },
    onClose ? tool("close", "Close", onClose) : null,
    h("h3", { text: "That did not work" }),
    h("p", { text: error.message }),
    error.hint ? h("p", { class: "easel-quiet", text: error.hint }) : null,
    fewer || defaults
      ? h(
          "div",
          { class: "easel-buttons" },
          fewer ? again("fewer_steps", "Try with fewer steps") : null,
          defaults ? again("defaults", "Try the model's defaults") : null,
        )
      : null,
  );
}
