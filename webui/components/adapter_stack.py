"""The adapter stack as a field of the form: its value is JSON text, a list of AdapterRef.

The page script draws the rows (webui/static/stack_panel.js) in as many places as one likes; they all show this one
field, so what is changed in one place is changed in all, and it travels with the form like any other value.
"""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from webui.components.live import live

EMPTY_STACK = "[]"

_ON_LOAD = """
const ready = (then) => {
  if (window.easel) then(); else window.addEventListener('easel:ready', then, {once: true});
};
ready(() => window.easel.attachStack((text) => { props.value = text; }, props.value));
watch('value', () => ready(() => window.easel.readStack(props.value)));
"""


@dataclass(frozen=True)
class AdapterStack:
    adapters: gr.HTML


def adapter_stack() -> AdapterStack:
    """Build the section of Text to image: the hidden field, and the panel that shows it."""
    adapters = gr.HTML(
        value=EMPTY_STACK,
        html_template="<span></span>",
        js_on_load=_ON_LOAD,
        elem_id="easel-stack-field",
        elem_classes="easel-hidden",
    )
    live("easel-stack", elem_id="easel-stack-form", place="form")
    return AdapterStack(adapters)
