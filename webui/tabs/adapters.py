"""Adapters: the gallery of LoRA and LyCORIS files, and beside it the stack of Text to image; the script draws it."""

from __future__ import annotations

import gradio as gr

from webui.components.live import live
from webui.host import TabContext, TabSpec


def tab() -> TabSpec:
    """The tab's entry for the studio."""
    return TabSpec("adapters", "Adapters", 20, build)


def build(context: TabContext) -> None:
    """Build the tab. Its stack is the form's own: `webui/components/adapter_stack.py` holds the value."""
    with gr.Row(elem_id="easel-adapters-desk"):
        with gr.Column(elem_id="easel-gallery-area"):
            live("easel-adapters", elem_id="easel-adapters-block")
        with gr.Column(elem_id="easel-stack-area"):
            live("easel-glance", elem_id="easel-glance-block")
            live("easel-stack", elem_id="easel-stack-desk", place="desk")
