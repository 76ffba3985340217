"""Which model paints: picker, refresh, what the model is, and where models go when there is none."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from engine.protocol.library import ModelView
from webui.components.live import live, note


@dataclass(frozen=True)
class ModelPicker:
    model: gr.Dropdown
    refresh: gr.Button
    about: gr.HTML
    apply_defaults: gr.Button
    save_defaults: gr.Button


def model_picker() -> ModelPicker:
    """Build the picker; choices arrive when the page attaches to the engine."""
    with gr.Row(elem_classes="easel-line"):
        model = gr.Dropdown(
            [],
            value=None,
            label="Model",
            elem_id="easel-model",
            scale=10,
            min_width=120,
        )
        refresh = gr.Button("↻", size="sm", elem_id="easel-refresh", elem_classes="easel-square", min_width=42, scale=0)
    about = note(elem_id="easel-model-about")
    live("easel-empty-models")
    with gr.Row(elem_classes="easel-links"):
        apply_defaults = gr.Button("Use its defaults", size="sm", elem_classes="easel-link", min_width=0)
        save_defaults = gr.Button("Save these as its defaults", size="sm", elem_classes="easel-link", min_width=0)
    return ModelPicker(model, refresh, about, apply_defaults, save_defaults)


def about_model(view: ModelView | None) -> str:
    """One line about a model: its description, else family, size and number format."""
    if view is None:
        return ""
    if view.description:
        return view.description
    words = [view.family, _size(view.size_bytes), view.dtype]
    return " · ".join(word for word in words if word)


def _size(count: int) -> str:
    if count <= 0:
        return ""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(1, round(count / 1e6))} MB"
