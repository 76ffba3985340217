"""How it is painted: sampler and schedule (only combinations that exist), steps, guidance."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from engine.protocol.specs import GUIDANCE_RANGE, STEPS_RANGE
from webui.components.live import note


@dataclass(frozen=True)
class SamplerPicker:
    sampler: gr.Dropdown
    schedule: gr.Dropdown
    advice: gr.HTML
    steps: gr.Slider
    guidance: gr.Slider


def sampler_picker() -> SamplerPicker:
    """Build the picker; choices arrive when the page attaches to the engine."""
    with gr.Row(elem_classes="easel-line"):
        sampler = gr.Dropdown([], value=None, label="Sampler", elem_id="easel-sampler", min_width=130)
        schedule = gr.Dropdown([], value=None, label="Schedule", elem_id="easel-schedule", min_width=130)
    advice = note(elem_id="easel-advice")
    steps = gr.Slider(
        STEPS_RANGE[0],
        STEPS_RANGE[1],
        value=20,
        step=1,
        label="Steps",
        info="More steps take longer; beyond the advised number little changes.",
        elem_id="easel-steps",
        buttons=[],
    )
    guidance = gr.Slider(
        GUIDANCE_RANGE[0],
        GUIDANCE_RANGE[1],
        value=7.0,
        step=0.1,
        label="Guidance",
        info="How closely the prompt is followed. 1 is freest and twice as fast; high values make hard, burnt colours.",
        elem_id="easel-guidance",
        buttons=[],
    )
    return SamplerPicker(sampler, schedule, advice, steps, guidance)
