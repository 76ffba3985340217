// Asking the studio for something: REST for what is done to jobs and pictures, signals through the bridge for the form.

import { say } from "./say.js";

let attach;
const bridge = new Promise((resolve) => {
  attach = resolve;
});

export const attachBridge = (made) => attach(made);
export const bridgeReady = bridge;

// Fill or use the form: fires an event of webui/components/bridge.py.
export async function signal(kind, data = null) {
  (await bridge).send(kind, data);
}

// A request to /api/v1; an error is shown (unless `quiet`) and thrown with its code.
async function ask(method, path, { params = {}, body = null, quiet = false } = {}) {
  const given = Object.entries(params).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const query = new URLSearchParams(given).toString();
  let answer;
  try {
    const response = await fetch(`/api/v1/${path}${query ? `?${query}` : ""}`, {
      method,
      headers: body ? { "Content-Type": "application/json" } : {},
      body: body ? JSON.stringify(body) : null,
    });
    answer = await response.json();
  } catch {
    answer = { error: { code: "unreachable", message: "The studio does not answer.", hint: "Is it still running?" } };
  }
  if (answer.error) {
    if (!quiet) say(`${answer.error.message} ${answer.error.hint}`.trim(), { kind: "error" });
    throw Object.assign(new Error(answer.error.message), answer.error);
  }
  return answer;
}

const id = encodeURIComponent;
export const api = {
  cancelJob: (job) => ask("DELETE", `jobs/${id(job)}`),
  skipPicture: (job, image) => ask("DELETE", `jobs/${id(job)}`, { params: { image } }),
  searchHistory: (params, options) => ask("GET", "history", { params, ...options }),
  deletePictures: (ids) => ask("POST", "history/delete", { body: { image_ids: ids } }),
  restorePictures: (ids) => ask("POST", "history/restore", { body: { image_ids: ids } }),
  markPicture: (image, favourite) => ask("PATCH", `history/${id(image)}`, { body: { favourite } }),
  rebuildHistory: () => ask("POST", "history/rebuild"),
};
