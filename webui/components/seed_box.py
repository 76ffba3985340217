"""Which noise and how many: seed with random and reuse, pictures, pictures at once."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from engine.protocol.specs import BATCH_RANGE, COUNT_RANGE


@dataclass(frozen=True)
class SeedBox:
    seed: gr.Textbox
    count: gr.Number
    batch_size: gr.Number


def seed_box() -> SeedBox:
    """Build the box. Random empties the seed; Reuse takes that of the picture on the stage (page script)."""
    with gr.Row(elem_classes="easel-line"):
        # A text field: Gradio's number field turns "nothing" into 0, and nothing means random here.
        seed = gr.Textbox(
            value="",
            label="Seed",
            info="Empty: a new one each time.",
            placeholder="random",
            max_length=10,
            elem_id="easel-seed",
            min_width=140,
            scale=10,
        )
        random = gr.Button(
            "Random", size="sm", elem_id="easel-seed-random", elem_classes="easel-beside", min_width=0, scale=0
        )
        reuse = gr.Button(
            "Reuse", size="sm", elem_id="easel-seed-reuse", elem_classes="easel-beside", min_width=0, scale=0
        )
    random.click(None, None, [seed], js="() => ''", queue=False, api_visibility="private")
    reuse.click(
        None,
        [seed],
        [seed],
        js="(seed) => String(window.easel?.seedOnStage() ?? seed)",
        queue=False,
        api_visibility="private",
    )
    with gr.Row(elem_classes="easel-line"):
        count = gr.Number(
            value=1,
            precision=0,
            minimum=COUNT_RANGE[0],
            maximum=COUNT_RANGE[1],
            label="Pictures",
            info="Seeds count up.",
            elem_id="easel-count",
            min_width=120,
        )
        batch_size = gr.Number(
            value=4,
            precision=0,
            minimum=BATCH_RANGE[0],
            maximum=BATCH_RANGE[1],
            label="At once",
            info="Faster, more memory.",
            elem_id="easel-batch",
            min_width=120,
        )
    return SeedBox(seed, count, batch_size)
