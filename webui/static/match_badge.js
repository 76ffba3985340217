// The badge of a row: how much of the adapter fits the model; a click tells why the rest does not.

import { h } from "./dom.js";
import { match } from "./match.js";
import { shelf } from "./shelf.js";

const PARTS = { unet: "UNet", text_encoder: "Text encoder", text_encoder_2: "Text encoder 2" };

export class MatchBadge {
  constructor(row) {
    this.row = row;
    this.element = h("button", { type: "button", class: "easel-badge", "aria-expanded": "false", onclick: () => this.toggle() });
    this.details = h("div", { class: "easel-report", hidden: true });
    this.update();
  }

  toggle() {
    this.details.hidden = !this.details.hidden;
    this.element.setAttribute("aria-expanded", String(!this.details.hidden));
  }

  update() {
    const [state, text, title, details] = this.words();
    this.element.dataset.state = state;
    this.element.textContent = text;
    this.element.title = title;
    const key = JSON.stringify([title, details]);
    if (this.key === key) return;
    this.key = key;
    this.details.replaceChildren(h("p", { text: title }), ...details);
  }

  words() {
    const { name } = this.row;
    if (shelf.missing(name)) return ["red", "not here", `“${name}” is not in the library: its file was moved, renamed or never on this machine.`, []];
    const report = match.reports.get(name);
    if (!report) {
      if (match.state === "failed") return ["grey", "not checked", match.fault, []];
      return ["grey", "checking…", "The file's header is being compared with the model.", []];
    }
    const state = !report.usable || report.matched === 0 ? "red" : report.matched < report.total ? "amber" : "green";
    return [state, `${report.matched} of ${report.total} modules`, report.summary, details(report)];
  }
}

function details(report) {
  const parts = report.components.map((part) => {
    const conv = part.conv ? `, ${part.conv} of them convolutions` : "";
    return h("li", { text: `${PARTS[part.component] ?? part.component}: ${part.matched} of ${part.total}${conv}` });
  });
  const rest = report.unmatched.map((reason) =>
    h("li", {}, `${reason.count} × ${reason.reason}`, reason.examples.length ? h("code", { text: reason.examples.join("\n") }) : null),
  );
  return [parts.length ? h("ul", {}, ...parts) : null, rest.length ? h("ul", { class: "easel-unmatched" }, ...rest) : null].filter(Boolean);
}
