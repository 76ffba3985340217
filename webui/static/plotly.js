// Plots by Plotly, which Gradio brings along; it is fetched when the first plot is wanted, and follows the theme.

import { h } from "./dom.js";

const QUIET = { displayModeBar: false, responsive: true, showTips: false };
const drawn = new Set();
let library = null;

function plotly() {
  library ??= import("/static/gradio-plotly.js").then(
    () => window.Plotly,
    (error) => {
      // The next plot tries again.
      library = null;
      throw error;
    },
  );
  return library;
}

// The page's own colours, as they are now.
function colours(element) {
  const style = getComputedStyle(element);
  const named = (name) => style.getPropertyValue(name).trim();
  return { text: style.color, quiet: named("--easel-quiet"), line: named("--easel-line"), accent: named("--easel-accent"), card: named("--easel-card"), series: [0, 1, 2, 3, 4, 5, 6, 7].map((place) => named(`--c${place}`)), font: style.fontFamily };
}

// `make(colours)` answers {traces, layout}; `label` says in words what the plot shows.
export function plot(make, { height, label, width = null, click = null }) {
  const element = h("div", { class: "easel-merge-plot", role: "img", "aria-label": label, style: `height: ${height}px${width ? `; min-width: ${width}px` : ""}` });
  const one = { element, make, click, height };
  draw(one);
  return element;
}

async function draw(one) {
  const { element, make, click, height } = one;
  let Plotly;
  try {
    Plotly = await plotly();
  } catch {
    element.replaceChildren(h("p", { class: "easel-hint", text: "The plot could not be loaded; the numbers stand in the tables." }));
    return;
  }
  forget(Plotly);
  if (!element.isConnected) return;
  const now = colours(element);
  const { traces, layout } = make(now);
  await Plotly.react(element, traces, whole(layout, now, height), QUIET);
  if (click && !drawn.has(one)) element.on("plotly_click", ({ points }) => click(points[0]));
  drawn.add(one);
}

function whole(layout, { quiet, line, card, text, font }, height) {
  const axis = { color: quiet, gridcolor: line, linecolor: line, zeroline: false, fixedrange: true, automargin: true, ticklen: 3, tickcolor: line };
  return {
    height,
    autosize: true,
    margin: { l: 6, r: 10, t: 8, b: 6 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: font, size: 11, color: quiet },
    hoverlabel: { bgcolor: card, bordercolor: line, font: { family: font, size: 12, color: text }, align: "left" },
    showlegend: false,
    // A finger or a wheel on a plot moves the page, not the plot.
    dragmode: false,
    ...layout,
    ...Object.fromEntries(["xaxis", "yaxis"].map((name) => [name, { ...axis, ...layout[name] }])),
  };
}

// Those that left the page let go of their listeners.
function forget(Plotly) {
  for (const one of drawn) {
    if (one.element.isConnected) continue;
    Plotly.purge(one.element);
    drawn.delete(one);
  }
}

// Plotly reads a little markup in its labels; names of files are to be read as they are.
export const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;");

new MutationObserver(() => {
  for (const one of drawn) draw(one);
}).observe(document.body, { attributes: true, attributeFilter: ["class"] });
