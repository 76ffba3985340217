// Plots of the Merge tab: strength by block, energy against rank, singular values; and how alike the inputs are.

import { h } from "./dom.js";
import { plain, plot } from "./plotly.js";

const COLOURS = 8;
const NARROWEST_BLOCK = 24;

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
  const places = blocks.map(({ block }) => block);
  const make = ({ series }) => ({
    traces: names.map((name, place) => ({
      type: "bar",
      x: places,
      y: blocks.map(({ norms }) => norms[place] ?? 0),
      marker: { color: series[place % COLOURS] },
      hoverinfo: "text",
      hovertext: blocks.map(({ block, norms }) => `${plain(name)} in ${block}: ${(norms[place] ?? 0).toPrecision(3)}`),
    })),
    layout: { barmode: "group", bargap: 0.25, xaxis: { type: "category", tickangle: 90, tickmode: "array", tickvals: places }, yaxis: { rangemode: "tozero", nticks: 4 } },
  });
  const told = `Strength in each block. ${blocks.map(({ block, norms }) => `${block}: ${norms.map((norm) => norm.toPrecision(2)).join(", ")}`).join("; ")}`;
  return h("div", { class: "easel-scroll" }, plot(make, { height: 190, label: told, width: 50 + blocks.length * Math.max(NARROWEST_BLOCK, names.length * 5) }));
}

// `points`: [[rank, share]]; `mark`: {rank, words}, where the recipe stands, or null; `take` is called with a rank.
export function energyCurve(points, mark, take) {
  const ranks = points.map(([rank]) => rank);
  const make = ({ accent, card, text }) => ({
    traces: [
      {
        type: "scatter",
        mode: "lines+markers",
        x: ranks,
        y: points.map(([, share]) => share),
        line: { color: accent, width: 2 },
        marker: { size: ranks.map((rank) => (rank === mark?.rank ? 11 : 7)), color: ranks.map((rank) => (rank === mark?.rank ? accent : card)), line: { color: accent, width: 2 } },
        hoverinfo: "text",
        hovertext: points.map(([rank, share]) => `Rank ${rank} keeps ${energyWords(share)}`),
      },
    ],
    layout: {
      xaxis: { type: "log", tickmode: "array", tickvals: ranks, ticktext: ranks.map(String), title: { text: "rank", standoff: 4 } },
      yaxis: { range: [0, 1.06], tickformat: ".0%", nticks: 4 },
      shapes: mark ? [{ type: "line", x0: mark.rank, x1: mark.rank, y0: 0, y1: 1, yref: "paper", line: { color: accent, width: 1.5, dash: "dot" } }] : [],
      annotations: mark ? [{ x: Math.log10(mark.rank), y: 0.08, yref: "paper", text: plain(mark.words), showarrow: false, xanchor: mark.rank * mark.rank > ranks.at(-1) ? "right" : "left", xshift: mark.rank * mark.rank > ranks.at(-1) ? -5 : 5, font: { color: text } }] : [],
    },
  });
  const told = `Energy kept by rank${mark ? `, ${mark.words}` : ""}. ${points.map(([rank, share]) => `${rank}: ${energyWords(share)}`).join(", ")}`;
  return plot(make, { height: 190, label: told, click: ({ x }) => take(x) });
}

// Singular values of one module, the largest first; those beyond the chosen rank are pale.
export function spectrum({ values, energy, rank }) {
  const places = values.map((_, place) => place + 1);
  const make = ({ accent, quiet }) => ({
    traces: [
      {
        type: "bar",
        x: places,
        y: values,
        marker: { color: places.map((place) => (place <= rank ? accent : quiet)), opacity: places.map((place) => (place <= rank ? 1 : 0.4)) },
        hoverinfo: "text",
        hovertext: places.map((place) => `${place}: ${values[place - 1].toPrecision(3)}; up to here ${energyWords(energy[place - 1] ?? 1)}`),
      },
    ],
    layout: {
      bargap: 0.15,
      xaxis: { range: [0.4, Math.max(values.length, 8) + 0.6], tickformat: "d", nticks: 8 },
      yaxis: { rangemode: "tozero", nticks: 4 },
      shapes: rank < values.length ? [{ type: "line", x0: rank + 0.5, x1: rank + 0.5, y0: 0, y1: 1, yref: "paper", line: { color: accent, width: 1.5, dash: "dot" } }] : [],
    },
  });
  return plot(make, { height: 160, label: `${values.length} singular values, ${rank} are kept, which is ${energyWords(energy[rank - 1] ?? 1)} of the energy.` });
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
