// Plots of the Merge tab, drawn as SVG: strength by block, energy against rank, singular values, how alike the inputs are.

import { h } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const COLOURS = 8;

function s(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null && value !== undefined) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const tip = (text) => {
  const title = s("title");
  title.textContent = text;
  return title;
};

export function percent(share) {
  const value = share * 100;
  if (value === 0) return "0 %";
  if (value < 0.01) return "below 0.01 %";
  return `${value >= 99.995 ? "100" : value >= 10 ? value.toFixed(1) : value.toPrecision(2)} %`;
}

// What is lost, in words that say when it is nothing.
export const loss = (error) => (error < 1e-6 ? "none" : percent(error));

export const energyWords = (share) => (share >= 0.99995 ? "all" : `${(share * 100).toFixed(share > 0.99 ? 2 : 1)} %`);

export function legend(names) {
  return h("p", { class: "easel-merge-legend" }, ...names.map((name, place) => h("span", {}, h("i", { "data-colour": place % COLOURS }), name)));
}

// `blocks`: [{block, norms}]; one bar for each input, side by side in its block.
export function blockBars(blocks, names) {
  const [height, foot] = [120, 38];
  const count = Math.max(1, names.length);
  const slot = Math.max(29, count * 6 + 8);
  const width = blocks.length * slot;
  const most = Math.max(...blocks.flatMap((each) => each.norms), 1e-12);
  const bars = blocks.flatMap(({ block, norms }, at) => {
    const thin = Math.min(14, (slot - 8) / count);
    const label = s("text", { x: at * slot + slot / 2, y: height + 6, class: "easel-plot-name", transform: `rotate(90 ${at * slot + slot / 2} ${height + 6})` });
    label.textContent = block;
    return [
      ...norms.map((norm, place) => {
        const tall = Math.max(norm > 0 ? 1 : 0, (norm / most) * (height - 6));
        return s("rect", { x: at * slot + (slot - thin * count) / 2 + place * thin, y: height - tall, width: Math.max(1, thin - 1), height: tall, rx: 1.5, "data-colour": place % COLOURS }, tip(`${names[place] ?? ""} in ${block}: ${norm.toPrecision(3)}`));
      }),
      label,
    ];
  });
  const line = s("line", { x1: 0, x2: width, y1: height, y2: height, class: "easel-plot-axis" });
  const told = `Strength in each block. ${blocks.map(({ block, norms }) => `${block}: ${norms.map((norm) => norm.toPrecision(2)).join(", ")}`).join("; ")}`;
  return h("div", { class: "easel-scroll" }, s("svg", { viewBox: `0 0 ${width} ${height + foot}`, width, height: height + foot, role: "img", "aria-label": told, class: "easel-merge-plot" }, line, ...bars));
}

// `points`: [[rank, share]]; `chosen`: a rank, or null.
export function energyCurve(points, chosen) {
  const [width, height, left, foot] = [320, 120, 34, 20];
  const last = Math.log2(Math.max(2, points.at(-1)[0]));
  const x = (rank) => left + (Math.log2(rank) / last) * (width - left - 10);
  const y = (share) => 6 + (1 - share) * (height - 12);
  const path = points.map(([rank, share], place) => `${place ? "L" : "M"}${x(rank).toFixed(1)} ${y(share).toFixed(1)}`).join("");
  const grid = [0, 0.5, 1].flatMap((share) => {
    const label = s("text", { x: left - 6, y: y(share) + 3, "text-anchor": "end", class: "easel-plot-name" });
    label.textContent = `${share * 100} %`;
    return [s("line", { x1: left, x2: width - 10, y1: y(share), y2: y(share), class: "easel-plot-grid" }), label];
  });
  const marks = points.map(([rank, share]) => s("circle", { cx: x(rank), cy: y(share), r: rank === chosen ? 5 : 3, class: rank === chosen ? "easel-plot-chosen" : "easel-plot-point" }, tip(`Rank ${rank} keeps ${energyWords(share)}`)));
  const labels = points.map(([rank]) => {
    const label = s("text", { x: x(rank), y: height + foot - 6, "text-anchor": "middle", class: "easel-plot-name" });
    label.textContent = rank;
    return label;
  });
  const told = `Energy kept by rank. ${points.map(([rank, share]) => `${rank}: ${energyWords(share)}`).join(", ")}`;
  const between = chosen && !points.some(([rank]) => rank === chosen) && Math.log2(chosen) <= last ? [s("line", { x1: x(chosen), x2: x(chosen), y1: 6, y2: height - 6, class: "easel-plot-mark" }, tip(`Rank ${chosen}`))] : [];
  return s("svg", { viewBox: `0 0 ${width} ${height + foot}`, width: "100%", role: "img", "aria-label": told, class: "easel-merge-plot easel-merge-curve" }, ...grid, s("path", { d: path, class: "easel-plot-line-path" }), ...between, ...marks, ...labels);
}

// Singular values of one module, the largest first; those beyond the chosen rank are pale.
export function spectrum({ values, energy, rank }) {
  const shown = values.slice(0, 128);
  const [height, thin] = [80, Math.max(2, Math.min(14, Math.floor(420 / shown.length)))];
  const most = Math.max(...shown, 1e-12);
  const bars = shown.map((value, place) => s("rect", { x: place * thin, y: height - (value / most) * (height - 4), width: Math.max(1, thin - 1), height: Math.max(0.5, (value / most) * (height - 4)), class: place < rank ? "easel-plot-kept" : "easel-plot-cut" }, tip(`${place + 1}: ${value.toPrecision(3)}; up to here ${energyWords(energy[place] ?? 1)}`)));
  return h("div", { class: "easel-scroll" }, s("svg", { viewBox: `0 0 ${shown.length * thin} ${height}`, width: shown.length * thin, height, role: "img", "aria-label": `${values.length} singular values, ${rank} are kept, which is ${energyWords(energy[rank - 1] ?? 1)} of the energy.`, class: "easel-merge-plot" }, ...bars));
}

// Each input against each other: cosine, and for TIES the share of opposite signs.
export function likeness(pairs, names, signs) {
  const found = new Map(pairs.flatMap((pair) => [[`${pair.first}:${pair.second}`, pair], [`${pair.second}:${pair.first}`, pair]]));
  const cell = (row, column) => {
    const pair = found.get(`${row}:${column}`);
    if (row === column || !pair) return h("td", { class: "easel-none", text: "·" });
    const value = signs ? pair.sign_conflict : pair.cosine;
    const words = signs ? `${names[row]} and ${names[column]}: ${percent(value)} of the strength has opposite signs` : `${names[row]} and ${names[column]}: ${value.toFixed(2)}`;
    const made = h("td", { title: words, text: signs ? `${Math.round(value * 100)}` : value.toFixed(2) });
    made.dataset.sign = signs || value < 0 ? "against" : "same";
    made.style.setProperty("--strength", `${Math.round(Math.min(1, Math.abs(value)) * 100)}%`);
    return made;
  };
  const head = h("tr", {}, h("th"), ...names.map((name, place) => h("th", { scope: "col", title: name, text: String(place + 1) })));
  const body = names.map((name, row) => h("tr", {}, h("th", { scope: "row", title: name, text: `${row + 1} ${name}` }), ...names.map((_, column) => cell(row, column))));
  return h("div", { class: "easel-scroll" }, h("table", { class: "easel-heat" }, h("thead", {}, head), h("tbody", {}, ...body)));
}
