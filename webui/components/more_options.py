"""What most pictures do not need: VAE, clip skip, styles, prompt syntax, file format and names."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from engine.protocol.specs import CLIP_SKIP_RANGE
from webui.components.form import OWN_VAE


@dataclass(frozen=True)
class MoreOptions:
    styles: gr.Dropdown
    vae: gr.Dropdown
    clip_skip: gr.Number
    prompt_syntax: gr.Dropdown
    repeatable: gr.Checkbox
    format: gr.Dropdown
    quality: gr.Slider
    name_pattern: gr.Textbox


STYLES_INFO = "Ready-made words from styles.csv, added to both prompts."
NO_STYLES_INFO = "None yet: put a styles.csv, as A1111 has it, beside the folders outputs and models, and press ↻."


def more_options() -> MoreOptions:
    """Build the options, folded away; choices of styles and VAEs arrive when the page attaches."""
    with gr.Accordion("More options", open=False, elem_id="easel-more"):
        styles = gr.Dropdown(
            [],
            multiselect=True,
            label="Styles",
            info=STYLES_INFO,
            elem_id="easel-styles",
        )
        with gr.Row(elem_classes="easel-line"):
            vae = gr.Dropdown(
                [("The model's own", OWN_VAE)],
                value=OWN_VAE,
                label="VAE",
                info="Turns the result into colours.",
                elem_id="easel-vae",
                min_width=130,
            )
            clip_skip = gr.Number(
                value=1,
                precision=0,
                minimum=CLIP_SKIP_RANGE[0],
                maximum=CLIP_SKIP_RANGE[1],
                label="Clip skip",
                info="Some anime models want 2.",
                elem_id="easel-clip-skip",
                min_width=110,
            )
        with gr.Row(elem_classes="easel-line"):
            prompt_syntax = gr.Dropdown(
                [("(word:1.2)", "a1111"), ("word++", "compel")],
                value="a1111",
                label="Emphasis",
                info="A1111's way, or compel's.",
                elem_id="easel-syntax",
                min_width=130,
            )
            repeatable = gr.Checkbox(
                False,
                label="Repeatable to the bit",
                info="Same bits whatever runs beside it; a little slower.",
                elem_id="easel-repeatable",
                min_width=130,
            )
        with gr.Row(elem_classes="easel-line"):
            format_ = gr.Dropdown(
                [("PNG", "png"), ("WebP", "webp"), ("JPEG", "jpeg")],
                value="png",
                label="File format",
                elem_id="easel-format",
                min_width=110,
            )
            quality = gr.Slider(
                1,
                100,
                value=92,
                step=1,
                label="Quality",
                info="For WebP and JPEG.",
                elem_id="easel-quality",
                min_width=130,
                buttons=[],
            )
        name_pattern = gr.Textbox(
            value="",
            label="File names",
            placeholder="{model}_{date}_{time}_{id}",
            info="Also {seed}, {sampler}, {steps}, {width}, {height}. Empty: the studio's own pattern.",
            elem_id="easel-names",
        )
    return MoreOptions(styles, vae, clip_skip, prompt_syntax, repeatable, format_, quality, name_pattern)
