"""A field of the form that nobody sees: the page script draws it, and writes into it, under a name."""

from __future__ import annotations

import json

import gradio as gr

_ON_LOAD = """
const name = NAME;
const ready = (then) => {
  if (window.easel) then(); else window.addEventListener('easel:ready', then, {once: true});
};
ready(() => window.easel.attachField(name, (value) => { props.value = value; }, props.value));
watch('value', () => ready(() => window.easel.readField(name, props.value)));
"""


def hidden_field(name: str, value: str, *, elem_id: str) -> gr.HTML:
    """Build the field. `name` is one that webui/static/studio.js knows."""
    return gr.HTML(
        value=value,
        html_template="<span></span>",
        js_on_load=_ON_LOAD.replace("NAME", json.dumps(name)),
        elem_id=elem_id,
        elem_classes="easel-hidden",
    )
