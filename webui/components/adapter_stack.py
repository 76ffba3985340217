"""The adapter stack as fields of the form: rows as JSON text (a list of AdapterRef), and what conflicts lead to.

The page script draws both (webui/static/stack_panel.js) in as many places as one likes; they all show these fields, so
what is changed in one place is changed in all, and it travels with the form like any other value.
"""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from webui.components.hidden_field import hidden_field
from webui.components.live import live

EMPTY_STACK = "[]"


@dataclass(frozen=True)
class AdapterStack:
    adapters: gr.HTML
    conflicts: gr.HTML


def adapter_stack() -> AdapterStack:
    """Build the section of Text to image: the hidden fields, and the panel that shows them."""
    stack = AdapterStack(
        hidden_field("adapters", EMPTY_STACK, elem_id="easel-stack-adapters"),
        hidden_field("conflicts", "keep", elem_id="easel-stack-conflicts"),
    )
    live("easel-stack", elem_id="easel-stack-form", place="form")
    return stack
