// The file's name, and what people read of it: title, trigger words, licence, a picture out of the history.

import { api } from "./api.js";
import { h, thumbUrl, tool } from "./dom.js";
import { draft } from "./merge_draft.js";
import { text } from "./merge_fields.js";
import { say } from "./say.js";

const SIDE = 512;
const LICENCES = ["CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "Apache-2.0", "MIT", "CreativeML-OpenRAIL-M"];

export class MergeDetails {
  constructor() {
    const told = (name) => (value) => {
      draft.metadata[name] = value;
      draft.tell("values");
    };
    this.name = text("File name", (name) => draft.set({ name }), { placeholder: "my_merge", most: 200, title: "Without folder and suffix. An existing file is never overwritten without asking." });
    this.parts = {
      title: text("Title", told("title"), { placeholder: "as the file name", most: 200 }),
      trigger_words: text("Trigger words", told("trigger_words"), { placeholder: "as the inputs have them", title: "With commas between them, the most important first." }),
      license: text("Licence", told("license"), { placeholder: "as the inputs say", most: 200 }),
      author: text("Author", told("author"), { most: 200 }),
      description: text("Description", told("description"), { long: true, most: 4000 }),
      tags: text("Tags", told("tags"), { placeholder: "what it shows, with commas" }),
      usage_hint: text("How to use it", told("usage_hint"), { placeholder: "such as: weight 0.8, few words" }),
    };
    const licences = h("datalist", { id: "easel-licences" }, ...LICENCES.map((value) => h("option", { value })));
    this.parts.license.input.setAttribute("list", "easel-licences");
    this.picture = h("div", { class: "easel-merge-thumb" });
    this.choose = tool("search", "Picture from the history…", () => openChooser(), { wide: true });
    this.none = tool("close", "No picture", () => this.take(null), { wide: true });
    const { title, trigger_words, license, ...others } = this.parts;
    this.rest = h("details", { class: "easel-fold" }, h("summary", { text: "More about the file" }), h("div", { class: "easel-merge-fields" }, ...Object.values(others).map((part) => part.element)));
    this.heading = h("h3");
    this.element = h("section", { class: "easel-card easel-merge-part", "aria-label": "Name and details" }, h("header", {}, this.heading), this.name.element, h("div", { class: "easel-merge-fields" }, title.element, trigger_words.element, license.element), licences, h("div", { class: "easel-merge-line" }, this.picture, h("div", { class: "easel-buttons" }, this.choose, this.none)), this.rest);
    for (const kind of ["task", "values", "rows"]) draft.addEventListener(kind, () => this.update());
    chosen = (data) => this.take(data);
    this.known = this.awaited = "";
    this.update();
  }

  take(thumbnail) {
    draft.metadata.thumbnail = thumbnail;
    draft.tell("values");
  }

  update() {
    const edits = draft.task === "edit";
    this.element.hidden = draft.task === "compare";
    this.heading.textContent = edits ? "What the file says of itself" : "Name and details";
    this.name.element.hidden = edits;
    this.name.show(draft.name);
    this.name.input.placeholder = draft.adapters.length && draft.task === "merge" ? draft.adapters.map((row) => row.name.split("/").at(-1)).join("_").slice(0, 60) : "my_merge";
    for (const [name, part] of Object.entries(this.parts)) part.show(draft.metadata[name]);
    const { thumbnail } = draft.metadata;
    this.none.hidden = !thumbnail;
    this.picture.hidden = !thumbnail;
    if (this.shown !== thumbnail) {
      this.shown = thumbnail;
      this.picture.replaceChildren(...(thumbnail ? [h("img", { src: `data:image/jpeg;base64,${thumbnail}`, alt: "Picture for the file" })] : []));
    }
    if (edits && draft.single !== this.known) this.read(draft.single);
    if (!edits) this.known = this.awaited = "";
    // Until it is known what the file says, typing would be overwritten by the answer.
    for (const part of Object.values(this.parts)) part.input.disabled = this.awaited !== "";
  }

  // What a person has changed of it; an emptied field is written as empty.
  changes() {
    const now = draft.written();
    const names = Object.keys({ ...this.said, ...now }).filter((name) => JSON.stringify(this.said?.[name]) !== JSON.stringify(now[name]));
    return Object.fromEntries(names.map((name) => [name, now[name] ?? (Array.isArray(this.said[name]) ? [] : "")]));
  }

  readAgain() {
    this.known = "";
    this.update();
  }

  // Editing starts from what the file says.
  async read(name) {
    this.known = this.awaited = name;
    if (!name) return;
    let details = null;
    try {
      details = await api.getAdapter(name);
    } catch {
      // It was said why.
    }
    if (this.awaited !== name) return;
    this.awaited = "";
    if (!details) return this.update();
    const said = (name) => details.metadata[`modelspec.${name}`] ?? "";
    draft.readMetadata({ title: said("title") || details.view.title, author: said("author"), description: said("description") || details.view.description, license: said("license"), usage_hint: said("usage_hint"), trigger_words: details.view.trigger_words, tags: said("tags") ? said("tags").split(",").map((word) => word.trim()) : [] });
    this.said = draft.written();
    draft.tell("values");
  }
}

// One set of details on the page; the chooser hands its picture to it.
let chosen = () => {};
let chooser = null;

async function openChooser() {
  let page;
  try {
    page = await api.searchHistory({ limit: 48 });
  } catch {
    return;
  }
  if (!chooser) {
    chooser = h("dialog", { class: "easel-drawer easel-merge-chooser", "aria-label": "Choose a picture" });
    chooser.addEventListener("click", (event) => event.target === chooser && chooser.close());
    document.body.append(chooser);
  }
  const pictures = page.images.map((image) =>
    h("button", { type: "button", class: "easel-thumb", title: image.spec.prompt || "Picture without a prompt", "aria-label": `Take the picture: ${image.spec.prompt || "without a prompt"}`, onclick: () => take(image) }, h("img", { src: thumbUrl(image, 120), alt: "", loading: "lazy" })),
  );
  const body = pictures.length ? h("div", { class: "easel-merge-pictures" }, ...pictures) : h("p", { class: "easel-hint", text: "The history is empty: make a picture first." });
  chooser.replaceChildren(h("header", {}, h("h3", { text: "Choose a picture" }), tool("close", "Close", () => chooser.close())), body);
  chooser.showModal();
}

async function take(image) {
  chooser.close();
  try {
    const picture = new Image();
    picture.src = thumbUrl(image, SIDE);
    await picture.decode();
    const canvas = h("canvas", { width: picture.naturalWidth, height: picture.naturalHeight });
    canvas.getContext("2d").drawImage(picture, 0, 0);
    chosen(canvas.toDataURL("image/jpeg", 0.88).split(",")[1]);
  } catch {
    say("This picture cannot be read.", { kind: "error" });
  }
}
