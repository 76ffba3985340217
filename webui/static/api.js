// Asking the studio for something: commands go through the page bridge, signals fill the form.

import { say } from "./say.js";

let attach;
const bridge = new Promise((resolve) => {
  attach = resolve;
});

export const attachBridge = (made) => attach(made);
export const bridgeReady = bridge;

// Carry out a command and return its answer; an error is shown and thrown.
export async function command(name, fields = {}, { quiet = false } = {}) {
  const { command: send } = await bridge;
  let answer;
  try {
    answer = await send({ name, fields });
  } catch {
    answer = { error: { code: "unreachable", message: "The studio does not answer.", hint: "Is it still running?" } };
  }
  if (answer.error) {
    if (!quiet) say(`${answer.error.message} ${answer.error.hint}`.trim(), { kind: "error" });
    throw Object.assign(new Error(answer.error.message), answer.error);
  }
  return answer.reply;
}

export async function signal(kind, data = null) {
  (await bridge).send(kind, data);
}
