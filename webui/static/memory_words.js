// Memory in words: bytes, times, names of parts, levels and policies, as a person would say them.

const GIB = 1024 ** 3;
const MIB = 1024 ** 2;

// Such as "3.4 GB" or "120 MB"; a GB has 1024³ bytes, as everywhere in Easel.
export function inWords(bytes) {
  if (bytes < 0) return "unknown";
  if (bytes >= GIB) return `${(bytes / GIB).toFixed(1)} GB`;
  if (bytes >= MIB || bytes === 0) return `${Math.round(bytes / MIB)} MB`;
  return "under 1 MB";
}

export const gigabytes = (bytes) => bytes / GIB;

// `now` is the engine's clock: the page may run on another machine.
export function ago(at, now) {
  if (!at) return "never";
  const passed = Math.max(0, now - at);
  if (passed < 5) return "just now";
  if (passed < 90) return `${Math.round(passed)} s ago`;
  if (passed < 5400) return `${Math.round(passed / 60)} min ago`;
  if (passed < 129600) return `${Math.round(passed / 3600)} h ago`;
  return `${Math.round(passed / 86400)} days ago`;
}

export const clock = (at) => new Date(at * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });

const PARTS = {
  unet: ["UNet", "Paints: it is asked once or twice for every step."],
  vae: ["VAE", "Turns what was painted into pixels."],
  text_encoder: ["Text encoder", "Reads the prompt."],
  text_encoder_2: ["Second text encoder", "Reads the prompt, too."],
  controlnet: ["ControlNet", "Guides the painting by a picture."],
  preprocessor: ["Preprocessor", "Makes a hint out of a picture."],
  upscaler: ["Upscaler", "Enlarges finished pictures."],
};

export function partName(part) {
  return PARTS[part]?.[0] ?? (part ? part[0].toUpperCase() + part.slice(1).replaceAll("_", " ") : "Model");
}

export const partMeaning = (part) => PARTS[part]?.[1] ?? "";

export const LEVELS = { auto: "Auto", none: "None", balanced: "Balanced", aggressive: "Aggressive", ultra: "Ultra" };

export const POLICIES = {
  score: ["Weighed", "Size, last use, how often, and what waits in the queue, all together."],
  lru: ["Longest unused first", "What was not needed for the longest time leaves."],
  lfu: ["Least used first", "What was needed least often leaves."],
  size: ["Largest first", "One large part leaves rather than several small ones."],
};

export const TIERS = {
  on_demand: ["On demand", "May leave when others need the room."],
  warm: ["Keep warm", "Leaves only after everything that is on demand."],
  pinned: ["Pin", "Stays loaded whatever comes, and is loaded again when Easel starts."],
};

const DTYPES = { float32: "32-bit", bfloat16: "16-bit (bfloat16)", float16: "16-bit", float8_e4m3fn: "8-bit (float8)", float8_e5m2: "8-bit (float8)", int8: "8-bit", int4: "4-bit" };

export const dtypeName = (dtype) => DTYPES[dtype] ?? dtype;

const KERNELS = { sdpa_flash: "SDPA flash", sdpa_efficient: "SDPA memory-efficient", sdpa_math: "SDPA plain", sdpa_cudnn: "SDPA cuDNN", sliced: "Sliced heads", xformers: "xFormers", flash_attn: "flash-attn" };

export const kernelName = (name) => KERNELS[name] ?? name.replaceAll("_", " ");

// Such as "0.8 ms", "3.2 s" or "4 min 10 s".
export function duration(seconds) {
  if (seconds < 0.1) return `${(seconds * 1000).toFixed(seconds < 0.01 ? 2 : 1)} ms`;
  if (seconds < 90) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

// A factor of time against the level none.
export function timeWords(factor) {
  const more = Math.round((factor - 1) * 100);
  return more === 0 ? "full speed" : more > 0 ? `${more} % slower` : `${-more} % faster`;
}
