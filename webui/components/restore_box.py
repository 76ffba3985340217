"""Take the settings of a picture: drop it, choose it, or paste its infotext."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from webui.components.live import live


@dataclass(frozen=True)
class RestoreBox:
    infotext: gr.Textbox
    apply: gr.Button


def restore_box() -> RestoreBox:
    """Build the box, folded away. A picture may also be dropped anywhere on the tab."""
    with gr.Accordion("Settings from a picture", open=False, elem_id="easel-restore"):
        live("easel-drop")
        infotext = gr.Textbox(
            label="Infotext",
            placeholder="Or paste the text that A1111, Forge or Easel writes into pictures",
            lines=3,
            max_lines=10,
            elem_id="easel-infotext",
            buttons=["copy"],
        )
        apply = gr.Button("Apply", size="sm", elem_id="easel-infotext-apply")
    return RestoreBox(infotext, apply)
