// <easel-stack>: the rows of the adapter stack with all that belongs to it. place="form": folded, in Text to image;
// place="desk": open, on the Adapters tab. Both show the same list.

import { ConflictMap } from "./conflict_map.js";
import { h, tool } from "./dom.js";
import { live } from "./live.js";
import { match } from "./match.js";
import { draft, takeStack } from "./merge_draft.js";
import { namedStacks } from "./named_stacks.js";
import { showTab } from "./pictures.js";
import { openPlot } from "./plot.js";
import { prompt } from "./prompt.js";
import { RepaintSwitch } from "./repaint.js";
import { RowPanel } from "./row_panel.js";
import { say } from "./say.js";
import { titleOf } from "./shelf.js";
import { stack } from "./stack.js";
import { StackRow } from "./stack_row.js";
import { Suggestions } from "./suggestions.js";
import { promptTags, takeTags } from "./prompt_tags.js";

const ABOUT = {
  order: stack,
  openKey: "easel-stack-open",
  title: "Adapters",
  deskTitle: "Stack",
  label: "Adapter stack",
  noun: "adapters",
  rowsLabel: "Adapter stack, in the order of their priority",
  nameOf: titleOf,
};
const SOURCES = [[stack, "rows"], [stack, "values"], [stack, "views"], [match, "change"], [live, "prompt"]];

class StackPanel extends RowPanel {
  get about() {
    return ABOUT;
  }

  get sources() {
    return SOURCES;
  }

  body() {
    this.empty = h("div", { class: "easel-stack-empty" });
    this.tags = h("div", { class: "easel-tags-found", hidden: true });
    this.conflicts = new ConflictMap();
    this.suggestions = new Suggestions();
    this.repaint = new RepaintSwitch();
    this.plot = tool("grid", "X/Y plot…", () => openPlot(), { wide: true });
    this.plot.title = "One click: the same picture with several weights, side by side";
    this.merge = tool("blend", "Merge…", () => this.openMerge(), { wide: true });
    this.merge.title = "Make one file of the stack, on the Merge tab";
    this.clear = tool("bin", "Remove all", () => this.removeAll(), { wide: true });
    this.tools = h("div", { class: "easel-stack-tools" }, this.repaint.element, h("div", { class: "easel-buttons" }, this.plot, this.merge, this.clear));
    return [this.tags, this.empty, this.list, this.told, this.tools, this.conflicts.element, this.suggestions.element, namedStacks()];
  }

  makeRow(row) {
    return new StackRow(row);
  }

  drawRest() {
    this.drawEmpty();
    this.drawTags();
    this.tools.hidden = stack.rows.length === 0;
    this.conflicts.update();
    this.suggestions.update();
    this.repaint.update();
  }

  drawEmpty() {
    this.empty.hidden = stack.rows.length > 0;
    if (this.empty.hidden || this.empty.firstChild) return;
    this.empty.append(h("p", { class: "easel-hint", text: this.desk ? "Nothing is stacked. Click an adapter to add it; it works on the next picture." : "Small files that teach the model a style, a subject or a trick. Stack as many as you like." }));
    if (!this.desk) this.empty.append(tool("plus", "Choose adapters", () => showTab("adapters"), { wide: true }));
  }

  drawTags() {
    const found = promptTags(prompt.text());
    this.tags.hidden = found.length === 0;
    if (!found.length) return;
    const text = found.length === 1 ? `The prompt itself names “${found[0].name}”.` : `The prompt itself names ${found.length} adapters.`;
    const take = h("button", { type: "button", class: "easel-mini", text: "Take into the stack", title: "The tags leave the prompt and become rows here, with the same weights.", onclick: () => takeTags(found) });
    this.tags.replaceChildren(h("span", { text }), take);
  }

  // Show where an adapter stands.
  flash(id) {
    const row = stack.holds(id);
    if (row && this.offsetParent) this.rows.get(row.key)?.flash();
  }

  openMerge() {
    draft.choose("merge");
    takeStack();
    showTab("merge");
  }

  removeAll() {
    const undo = stack.replace([]);
    say("The stack is empty.", { action: "Undo", onAction: undo });
  }
}

prompt.watch(() => live.tell("prompt"));
customElements.define("easel-stack", StackPanel);
