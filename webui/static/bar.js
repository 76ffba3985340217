// The bar at the top: name, what the engine is doing, colours of the page.

import { h, icon, onceAFrame } from "./dom.js";
import { live } from "./live.js";

const WORDS = {
  starting: "Engine is starting",
  warming: "Engine is warming up",
  ready: "Ready",
  stopping: "Engine is stopping",
  restarting: "Engine is restarting",
  failed: "Engine cannot start",
};
const THEMES = ["auto", "light", "dark"];
const THEME_ICONS = { auto: "auto", light: "sun", dark: "moon" };

class Bar extends HTMLElement {
  connectedCallback() {
    if (this.pill) return;
    this.pill = h("span", { class: "easel-state", role: "status" }, h("i"), h("span"));
    this.banner = h("div", { class: "easel-banner", hidden: true, role: "status" });
    this.theme = h("button", { type: "button", class: "easel-tool", onclick: () => this.nextTheme() });
    this.append(
      h(
        "header",
        { class: "easel-bar" },
        h("span", { class: "easel-brand" }, h("span", { class: "easel-mark", "aria-hidden": "true" }), "Easel"),
        this.pill,
        this.theme,
      ),
      this.banner,
    );
    this.showTheme();
    this.draw = () => this.drawState();
    live.addEventListener("engine", this.draw);
    live.addEventListener("connection", this.draw);
    live.addEventListener("jobs", (this.retitle = onceAFrame(drawTitle)));
    this.drawState();
  }

  disconnectedCallback() {
    live.removeEventListener("engine", this.draw);
    live.removeEventListener("connection", this.draw);
    live.removeEventListener("jobs", this.retitle);
  }

  drawState() {
    const lost = live.greeted && !live.connected;
    const state = lost ? "lost" : live.status.state;
    this.pill.dataset.state = state;
    this.pill.lastChild.textContent = lost ? "Connection lost" : (WORDS[state] ?? state);
    this.pill.title = live.status.device ? `Computes on ${live.status.device}` : "";
    const text = lost
      ? "The studio does not answer. This page connects again by itself; jobs that are queued are kept."
      : state === "ready"
        ? ""
        : live.status.message || `${WORDS[state] ?? state}. You can already write and queue pictures.`;
    this.banner.hidden = !text || (!live.greeted && !lost);
    this.banner.dataset.state = state;
    this.banner.replaceChildren(h("span", { text }));
    if (!lost && live.status.fraction !== null && live.status.fraction !== undefined && state !== "ready") {
      this.banner.append(h("progress", { max: 1, value: live.status.fraction, "aria-label": "Engine start" }));
    }
  }

  nextTheme() {
    const next = THEMES[(THEMES.indexOf(currentTheme()) + 1) % THEMES.length];
    localStorage.setItem("easel-theme", next);
    this.showTheme();
  }

  showTheme() {
    const theme = applyTheme();
    this.theme.replaceChildren(icon(THEME_ICONS[theme]));
    const label = `Colours: ${theme === "auto" ? "as the system" : theme}`;
    this.theme.title = label;
    this.theme.setAttribute("aria-label", label);
  }
}

// The browser's own tab tells how far the running job is.
function drawTitle() {
  const running = live.active().find((job) => job.status === "running");
  document.title = running ? `${Math.round(running.progress.fraction * 100)} % · Easel` : "Easel";
}

function currentTheme() {
  const kept = localStorage.getItem("easel-theme");
  return THEMES.includes(kept) ? kept : (document.querySelector("meta[name=easel-theme]")?.content ?? "auto");
}

const systemDark = matchMedia("(prefers-color-scheme: dark)");

export function applyTheme() {
  const theme = currentTheme();
  const dark = theme === "dark" || (theme === "auto" && systemDark.matches);
  document.body.classList.toggle("dark", dark);
  document.documentElement.style.colorScheme = dark ? "dark" : "light";
  return theme;
}

systemDark.addEventListener("change", applyTheme);
customElements.define("easel-bar", Bar);
