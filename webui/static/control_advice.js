// What a person should know of a composition before it is painted.

import { controls, controlTitle } from "./control_shelf.js";
import { strengths, together } from "./strength.js";

const MANY = 3;
const STRONG = 1.5;

export function advise(rows, steps) {
  const active = rows.filter((row) => !row.muted);
  const said = [];
  if (active.length > MANY) said.push(`${active.length} units work together. Two or three are usually enough: more of them cost time and leave little to the prompt.`);
  said.push(...twins(active), ...sameTypes(active), ...idle(active, steps));
  const peak = Math.max(0, ...together(active, steps));
  if (active.length > 1 && peak > STRONG) said.push(`At its strongest the sum is ${peak.toFixed(2)}. Above ${STRONG} pictures often look burnt: lower a weight, or let one end where the other starts.`);
  return said;
}

const number = (row, rows) => rows.indexOf(row) + 1;

function twins(rows) {
  const seen = new Map();
  const said = [];
  for (const row of rows) {
    const key = JSON.stringify([row.kind, row.model, row.image, row.preprocessor, row.hint_type, row.parameters]);
    if (!row.image || !seen.has(key)) seen.set(key, row);
    else said.push(`Units ${number(seen.get(key), rows)} and ${number(row, rows)} do the same with the same picture: one of them with more weight is cheaper.`);
  }
  return said;
}

function sameTypes(rows) {
  const types = new Map();
  for (const row of rows) {
    const type = row.kind === "controlnet" ? controls.typeId(row) : "";
    if (type) types.set(type, [...(types.get(type) ?? []), row]);
  }
  return [...types].filter(([, list]) => list.length > 1).map(([type, list]) => `${list.length} units are of the type ${controls.type(type)?.title ?? type}. Different types complement each other better, such as outlines with depth.`);
}

function idle(rows, steps) {
  const said = [];
  for (const row of rows) {
    if (row.weight === 0) said.push(`${controlTitle(row)} has the weight 0: it does nothing.`);
    else if (!strengths(row, steps).some((value) => value > 0)) said.push(`${controlTitle(row)} works from ${Math.round(row.start * 100)} to ${Math.round(row.end * 100)} %: not one of the ${steps} steps lies wholly in there, so it does nothing.`);
  }
  return said;
}
