// Asking the studio for something: REST for what is done to jobs and pictures, signals through the bridge for the form.

import { inFull, say } from "./say.js";

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

let asks = 0;
const questions = new Map();

// What the form asks for, as a spec; null where a field cannot be read, which the person is told unless it is `quiet`.
export function specOfForm({ quiet = false } = {}) {
  const number = ++asks;
  return new Promise((resolve) => {
    questions.set(number, resolve);
    signal("spec", { ask: number, quiet });
  });
}

export function answerSpec({ ask: number, spec }) {
  questions.get(number)?.(spec);
  questions.delete(number);
}

// A request to /api/v1; an error is shown (unless `quiet`) and thrown with its code.
async function ask(method, path, { params = {}, body = null, file = null, quiet = false } = {}) {
  const given = Object.entries(params).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const query = new URLSearchParams(given).toString();
  let answer;
  // Views of jobs and merges have a field of that name too.
  let failed = true;
  try {
    const response = await fetch(`/api/v1/${path}${query ? `?${query}` : ""}`, {
      method,
      headers: file ? { "Content-Type": file.type || "application/octet-stream" } : body ? { "Content-Type": "application/json" } : {},
      body: file ?? (body ? JSON.stringify(body) : null),
    });
    answer = await response.json();
    failed = !response.ok;
  } catch {
    answer = { error: { code: "unreachable", message: "The studio does not answer.", hint: "Is it still running?" } };
  }
  if (failed) {
    if (!quiet) say(inFull(answer.error), { kind: "error" });
    throw Object.assign(new Error(answer.error.message), answer.error);
  }
  return answer;
}

const id = encodeURIComponent;
export const api = {
  cancelJob: (job, options) => ask("DELETE", `jobs/${id(job)}`, options),
  skipPicture: (job, image) => ask("DELETE", `jobs/${id(job)}`, { params: { image } }),
  searchHistory: (params, options) => ask("GET", "history", { params, ...options }),
  deletePictures: (ids) => ask("POST", "history/delete", { body: { image_ids: ids } }),
  restorePictures: (ids) => ask("POST", "history/restore", { body: { image_ids: ids } }),
  markPicture: (image, favourite) => ask("PATCH", `history/${id(image)}`, { body: { favourite } }),
  enlargePicture: (image, factor) => ask("POST", `history/${id(image)}/enlarge`, { body: { factor } }),
  rebuildHistory: () => ask("POST", "history/rebuild"),
  submitJob: (spec, options) => ask("POST", "jobs", { params: { priority: "high" }, body: spec, ...options }),
  listAdapters: (params, options) => ask("GET", "adapters", { params, ...options }),
  getAdapter: (adapter, options) => ask("GET", `adapters/${id(adapter)}`, options),
  checkStack: (body, options) => ask("POST", "adapters/report", { body, ...options }),
  suggestAdapters: (body, options) => ask("POST", "adapters/suggest", { body, ...options }),
  complete: (params, options) => ask("GET", "completions", { params, ...options }),
  listStacks: (options) => ask("GET", "stacks", options),
  saveStack: (body) => ask("PUT", "stacks", { body }),
  listMethods: (options) => ask("GET", "merges/methods", options),
  previewMerge: (body, options) => ask("POST", "merges/preview", { body, ...options }),
  compareAdapters: (body, options) => ask("POST", "comparisons", { body, ...options }),
  compareMerge: (merge, body, options) => ask("POST", `merges/${id(merge)}/comparison`, { body, ...options }),
  listComparisons: (options) => ask("GET", "comparisons", options),
  getComparison: (comparison, options) => ask("GET", `comparisons/${id(comparison)}`, options),
  cancelComparison: (comparison, options) => ask("DELETE", `comparisons/${id(comparison)}`, options),
  submitMerge: (body, options) => ask("POST", "merges", { body, ...options }),
  listMerges: (options) => ask("GET", "merges", options),
  getMerge: (merge, options) => ask("GET", `merges/${id(merge)}`, options),
  cancelMerge: (merge, options) => ask("DELETE", `merges/${id(merge)}`, options),
  deleteMerged: (merge) => ask("DELETE", `merges/${id(merge)}/file`),
  editAdapter: (adapter, metadata, options) => ask("PATCH", `adapters/${id(adapter)}`, { body: metadata, ...options }),
  getMemory: (options) => ask("GET", "memory", options),
  forecastMemory: (body, options) => ask("POST", "memory/forecast", { body, ...options }),
  releaseMemory: (body) => ask("POST", "memory/release", { body }),
  pinMemory: (body) => ask("POST", "memory/pin", { body }),
  preloadModel: (model) => ask("POST", "memory/preload", { body: { model } }),
  measureMemory: (body) => ask("POST", "memory/measure", { body }),
  setMemoryLevel: (body) => ask("POST", "memory/level", { body }),
  listModels: (options) => ask("GET", "models", options),
  listControls: (params, options) => ask("GET", "controlnets", { params, ...options }),
  makeHint: (body, options) => ask("POST", "hints", { body, ...options }),
  putAsset: (file, options) => ask("POST", "assets", { file, ...options }),
  deleteStack: (name) => ask("DELETE", "stacks", { params: { name } }),
};
