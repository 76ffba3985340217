// Recipes as files: saved, shared, dropped on the tab.

import { h, saveFile } from "./dom.js";
import { takeFileDrops } from "./file_drops.js";
import { draft } from "./merge_draft.js";
import { say } from "./say.js";

const TASKS = ["merge", "bake", "extract", "checkpoint", "convert"];
const LARGEST = 4 * 1024 * 1024;
const UNREADABLE = "This is no merge recipe: it is a JSON file with a “task”, as this tab saves it.";

export function saveRecipe(recipe, name) {
  saveFile(new Blob([`${JSON.stringify(recipe, null, 2)}\n`], { type: "application/json" }), `${name || recipe.task}.recipe.json`);
}

async function loadRecipe(file) {
  if (!file) return;
  if (file.size > LARGEST) return say(UNREADABLE, { kind: "error" });
  let recipe;
  try {
    recipe = JSON.parse(await file.text());
  } catch {
    return say(UNREADABLE, { kind: "error" });
  }
  takeRecipe(recipe, file.name.replace(/(\.recipe)?\.json$/i, ""));
}

// Answers whether it was one.
export function takeRecipe(recipe, name = "") {
  const before = draft.missing() === "" ? [draft.recipe(), draft.name] : null;
  try {
    if (!recipe || !TASKS.includes(recipe.task) || (recipe.schema ?? 1) !== 1) throw new TypeError();
    draft.read(recipe);
  } catch {
    if (before) draft.read(before[0]);
    say(UNREADABLE, { kind: "error" });
    return false;
  }
  draft.set({ name });
  const back = () => {
    draft.read(before[0]);
    draft.set({ name: before[1] });
  };
  say(`Recipe${name ? ` “${name}”` : ""} loaded.`, before ? { action: "Undo", onAction: back } : {});
  return true;
}

export function recipeButtons(tool) {
  const file = h("input", { type: "file", accept: ".json,application/json", class: "easel-unseen", tabindex: -1, "aria-label": "Recipe file", onchange: () => loadRecipe(file.files[0]).finally(() => (file.value = "")) });
  const load = tool("upload", "Load a recipe", () => file.click(), { wide: true });
  const save = tool("download", "Save the recipe", () => saveRecipe(draft.recipe(), draft.name), { wide: true });
  load.title = "A JSON file that was saved here, or by the command line; it may also be dropped on this tab.";
  draft.addEventListener("edited", () => {
    save.disabled = Boolean(draft.missing()) || ["edit", "compare"].includes(draft.task);
    save.title = draft.missing() || "As a JSON file: to keep, to share, to run on the command line (launch.py merge).";
  });
  return [load, save, file];
}

// A recipe may be dropped anywhere on the tab.
export function takeDrops(element) {
  takeFileDrops(element, { mark: (on) => element.classList.toggle("easel-merge-dropping", on), take: loadRecipe });
}
