"""ControlNet: the units of Text to image with room to work on them, and beside them how they work together."""

from __future__ import annotations

import gradio as gr

from webui.components.live import live
from webui.host import TabContext, TabSpec


def tab() -> TabSpec:
    """The tab's entry for the studio."""
    return TabSpec("controlnet", "ControlNet", 25, build)


def build(context: TabContext) -> None:
    """Build the tab. Its units are the form's own: `webui/components/control_units.py` holds the value."""
    with gr.Row(elem_id="easel-controls-desk"):
        with gr.Column(elem_id="easel-units-area"):
            live("easel-controls", elem_id="easel-controls-list", place="desk")
        with gr.Column(elem_id="easel-composition-area"):
            live("easel-glance", elem_id="easel-controls-glance")
            live("easel-composition", elem_id="easel-composition-block")
