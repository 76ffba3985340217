"""The adapter stack as fields of the form: rows as JSON text (a list of AdapterRef), and what conflicts lead to.

The page script draws both (webui/static/stack_panel.js) in as many places as one likes; they all show these fields, so
what is changed in one place is changed in all, and it travels with the form like any other value.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import gradio as gr

from webui.components.live import live

EMPTY_STACK = "[]"

_ON_LOAD = """
const name = NAME;
const ready = (then) => {
  if (window.easel) then(); else window.addEventListener('easel:ready', then, {once: true});
};
ready(() => window.easel.attachStack(name, (value) => { props.value = value; }, props.value));
watch('value', () => ready(() => window.easel.readStack(name, props.value)));
"""


@dataclass(frozen=True)
class AdapterStack:
    adapters: gr.HTML
    conflicts: gr.HTML


def adapter_stack() -> AdapterStack:
    """Build the section of Text to image: the hidden fields, and the panel that shows them."""
    stack = AdapterStack(_hidden("adapters", EMPTY_STACK), _hidden("conflicts", "keep"))
    live("easel-stack", elem_id="easel-stack-form", place="form")
    return stack


def _hidden(name: str, value: str) -> gr.HTML:
    return gr.HTML(
        value=value,
        html_template="<span></span>",
        js_on_load=_ON_LOAD.replace("NAME", json.dumps(name)),
        elem_id=f"easel-stack-{name}",
        elem_classes="easel-hidden",
    )
