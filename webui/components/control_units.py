"""The ControlNet units as a field of the form: JSON text, a list of ControlUnit.

The page script draws it (webui/static/control_panel.js) in as many places as one likes; they all show this field, so it
travels with the form like any other value.
"""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from webui.components.hidden_field import hidden_field
from webui.components.live import live


@dataclass(frozen=True)
class ControlUnits:
    controls: gr.HTML


def control_units() -> ControlUnits:
    """Build the section of Text to image: the hidden field, and the panel that shows it."""
    units = ControlUnits(hidden_field("controls", "[]", elem_id="easel-controls-field"))
    live("easel-controls", elem_id="easel-controls-form", place="form")
    return units
