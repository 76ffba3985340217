// What belongs to the form but is not a Gradio widget: examples, where models go, dropping a picture.

import { signal } from "./api.js";
import { tooLarge } from "./assets.js";
import { h } from "./dom.js";
import { takeFileDrops } from "./file_drops.js";
import { live } from "./live.js";

// Examples shown at first; the rest would push the form down.
const FEW = 5;
let known = null;

const chip = (text, onclick) => h("button", { type: "button", class: "easel-chip-button", text, onclick });

// What a message does not name is as it was.
export function formChanged(message) {
  known = { ...known, ...message };
  live.tell("form", message);
}

// Files came or went: the pickers are filled anew where they offer something else now.
export const libraryChanged = () => signal("library", known?.offered ?? null);

class Examples extends HTMLElement {
  connectedCallback() {
    live.addEventListener("form", (this.redraw = () => this.draw()));
    this.draw();
  }

  disconnectedCallback() {
    live.removeEventListener("form", this.redraw);
  }

  draw() {
    const examples = known?.examples ?? [];
    if (!examples.length) return this.replaceChildren();
    this.replaceChildren(
      h(
        "div",
        { class: "easel-examples", role: "group", "aria-label": "Examples" },
        ...examples.slice(0, this.all ? undefined : FEW).map((text) => chip(text, () => signal("example", text))),
        this.all || examples.length <= FEW
          ? null
          : chip("More…", () => {
              this.all = true;
              this.draw();
            }),
      ),
    );
  }
}

class EmptyModels extends HTMLElement {
  connectedCallback() {
    live.addEventListener("form", (this.redraw = () => this.draw()));
    this.draw();
  }

  disconnectedCallback() {
    live.removeEventListener("form", this.redraw);
  }

  draw() {
    if (!known) return this.replaceChildren();
    const parts = [];
    if (known.models === 0) {
      parts.push(
        h("h4", { text: "No model yet" }),
        h("p", { text: "Put a .safetensors checkpoint or a diffusers folder here, then press ↻:" }),
        ...known.folders.map((folder) => h("code", { text: folder })),
      );
    }
    if (known.problems.length) {
      parts.push(
        h(
          "details",
          {},
          h("summary", { text: known.problems.length === 1 ? "1 model file cannot be used" : `${known.problems.length} model files cannot be used` }),
          ...known.problems.map((text) => h("p", { text })),
        ),
      );
    }
    this.replaceChildren(...(parts.length ? [h("div", { class: "easel-no-models" }, ...parts)] : []));
  }
}

class Drop extends HTMLElement {
  connectedCallback() {
    if (this.firstChild) return;
    const input = h("input", { type: "file", accept: "image/png,image/jpeg,image/webp", class: "easel-file", onchange: () => takeFile(input.files[0]).finally(() => (input.value = "")) });
    this.append(h("label", { class: "easel-drop" }, input, h("strong", { text: "Drop a picture here" }), h("span", { text: "or choose one: an Easel or A1111 picture brings its settings back" })));
  }
}

async function takeFile(file) {
  if (!file) return;
  if (tooLarge(file, "Paste its infotext instead.")) return;
  const bytes = new Uint8Array(await file.arrayBuffer());
  let text = "";
  for (let start = 0; start < bytes.length; start += 0x8000) text += String.fromCharCode(...bytes.subarray(start, start + 0x8000));
  await signal("picture", { data: btoa(text), name: file.name });
}

// A picture may be dropped anywhere while Text to image is open.
export function watchDrops(open) {
  takeFileDrops(document, { open, mark: (on) => document.documentElement.classList.toggle("easel-dropping", on), take: takeFile });
}

customElements.define("easel-examples", Examples);
customElements.define("easel-empty-models", EmptyModels);
customElements.define("easel-drop", Drop);
