// The page script. It keeps one WebSocket to the studio and draws everything that lives: Gradio holds the form, no more.

import "./adapter_gallery.js";
import { answerSpec, attachBridge, bridgeReady, signal } from "./api.js";
import { applyTheme } from "./bar.js";
import { cancelJob } from "./cancel.js";
import { completePrompts } from "./completion.js";
import "./composition.js";
import "./control_panel.js";
import { units } from "./control_units.js";
import { checkFields } from "./field_faults.js";
import { formChanged, libraryChanged, watchDrops } from "./form.js";
import { formNotKept, keepForm } from "./form_keeper.js";
import { generate, generateButton } from "./generate_button.js";
import "./glance.js";
import "./history.js";
import { live, paints } from "./live.js";
import "./memory_panel.js";
import "./merge_studio.js";
import { applyScaling, showTab } from "./pictures.js";
import "./queue.js";
import { inFull, say } from "./say.js";
import { stack } from "./stack.js";
import "./quick.js";
import "./stack_panel.js";
import { stage } from "./stage.js";

// Messages of the Python handlers, see webui/components/bridge.py.
const MESSAGES = {
  submitted: ({ job }) => {
    live.learn(job);
    live.tell("submitted", job.id);
  },
  error: ({ error }) => say(inFull(error), { kind: "error" }),
  refused: ({ error }) => live.tell("refused", error),
  say: ({ text, stay }) => say(text, { stay: stay ?? null }),
  unkept: formNotKept,
  form: (message) => {
    attached = true;
    document.documentElement.dataset.easelForm = "attached";
    formChanged(message);
  },
  spec: answerSpec,
  unattached: () => {
    attached = false;
  },
  show_form: () => showTab("txt2img"),
  resubmit: () => setTimeout(generate, 50),
};

let attached = false;

// A field holds something else: somebody wrote, or a handler filled it.
function formTouched() {
  checkFields();
  keepForm();
  live.tell("touched");
}

// The form is filled once the engine answers; again when it comes back after the page could not.
function attachForm() {
  if (attached || !live.answers) return;
  attached = true;
  signal("attach");
}

function receive(value) {
  if (!value) return;
  for (const message of JSON.parse(value).messages) MESSAGES[message.kind]?.(message);
}

// Who keeps a hidden field of the form.
const keeper = (name) => (name === "controls" ? units : stack);
const visible = (element) => Boolean(element?.offsetParent);

function onKey(event) {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    if (!visible(generateButton())) return;
    event.preventDefault();
    event.stopPropagation();
    // A number field keeps what was typed only when it loses the focus.
    if (document.activeElement?.matches("input[type=number]")) document.activeElement.blur();
    setTimeout(generate, 0);
  }
  if (event.key === "Escape" && !event.defaultPrevented && !document.querySelector("dialog[open]")) {
    if (!visible(generateButton()) || document.querySelector("ul[role=listbox]")) return;
    // A merge or a measurement is ended where it is shown.
    const painted = live.active().filter(paints);
    cancelJob(painted.find((job) => job.status === "running") ?? painted[0]);
  }
}

window.easel = {
  live,
  receive,
  attachBridge,
  formTouched,
  signal,
  say,
  attachField: (name, write, value) => keeper(name).attach(name, write, value),
  readField: (name, value) => keeper(name).read(name, value),
  seedOnStage: () => stage()?.seed() ?? null,
};
window.dispatchEvent(new Event("easel:ready"));

applyTheme();
applyScaling();
document.addEventListener("keydown", onKey, { capture: true });
completePrompts();
watchDrops(() => visible(generateButton()));
live.addEventListener("engine", attachForm);
live.addEventListener("library", () => attached && libraryChanged());
live.addEventListener("fault", ({ detail }) => say(inFull(detail), { kind: "error" }));
bridgeReady.then(attachForm);
live.connect();
