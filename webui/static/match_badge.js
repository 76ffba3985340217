// The badge of a row: how much of the adapter fits the model; a click tells why the rest does not.

import { h } from "./dom.js";
import { match } from "./match.js";
import { shelf, titleOf } from "./shelf.js";

const EXAMPLES = 3;
const GONE = ["adapter_unknown", "model_file_missing"];
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
    const report = match.reports.get(this.row.name) ?? null;
    const [state, text, title] = this.words(report);
    this.element.dataset.state = state;
    this.element.textContent = text;
    this.element.title = title;
    if (this.shown === report && this.told === title) return;
    this.shown = report;
    this.told = title;
    this.details.replaceChildren(h("p", { text: title }), ...(report ? lists(report) : []));
  }

  words(report) {
    const { name } = this.row;
    if (shelf.missing(name)) return ["red", "not here", `“${name}” is not in the library: its file was moved, renamed or never on this machine.`];
    if (!report) {
      if (match.state === "failed") return ["grey", "not checked", match.fault];
      return ["grey", "checking…", "The file's header is being compared with the model."];
    }
    if (GONE.includes(report.code)) return ["red", "file is gone", `The file of “${titleOf(name)}” is not there any more: put it back, or take this row out.`];
    if (report.code) return ["red", "cannot be read", report.summary];
    const state = !report.usable || report.matched === 0 ? "red" : report.matched < report.total ? "amber" : "green";
    return [state, `${report.matched} of ${report.total} modules`, report.summary];
  }
}

function lists(report) {
  const parts = report.components.map((part) => {
    const conv = part.conv ? `, ${part.conv} of them convolutions` : "";
    return h("li", { text: `${PARTS[part.component] ?? part.component}: ${part.matched} of ${part.total}${conv}` });
  });
  const rest = report.unmatched.map((reason) =>
    h("li", {}, `${reason.count === 1 ? "1 module" : `${reason.count} modules`}: ${reason.reason}`, reason.examples.length ? h("code", { text: reason.examples.slice(0, EXAMPLES).join("\n") }) : null),
  );
  return [parts.length ? h("ul", {}, ...parts) : null, rest.length ? h("ul", { class: "easel-unmatched" }, ...rest) : null].filter(Boolean);
}
