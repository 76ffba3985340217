"""How large: width and height in steps of 8, swap, shapes of about the same area, and the finished picture enlarged."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from engine.protocol.specs import SIZE_MULTIPLE, SIZE_RANGE

SHAPES: tuple[tuple[str, int, int], ...] = (
    ("1:1", 1, 1),
    ("4:3", 4, 3),
    ("3:4", 3, 4),
    ("16:9", 16, 9),
    ("9:16", 9, 16),
)
_SHAPE_NAMES = {"1:1": "Square", "4:3": "Landscape", "3:4": "Portrait", "16:9": "Wide", "9:16": "Tall"}


@dataclass(frozen=True)
class SizePicker:
    width: gr.Number
    height: gr.Number
    upscale: gr.Radio


def size_picker() -> SizePicker:
    """Build the picker. Swap and shapes run in the page: no trip to the server."""
    with gr.Row(elem_classes="easel-line"):
        width = _side("Width", "easel-width")
        swap = gr.Button("⇄", size="sm", elem_id="easel-swap", elem_classes="easel-square", min_width=42, scale=0)
        height = _side("Height", "easel-height")
    swap.click(None, [width, height], [width, height], js="(w, h) => [h, w]", queue=False, api_visibility="private")
    with gr.Row(elem_classes="easel-chips", elem_id="easel-shapes"):
        for ratio, across, down in SHAPES:
            button = gr.Button(f"{_SHAPE_NAMES[ratio]} {ratio}", size="sm", elem_classes="easel-chip", min_width=0)
            button.click(
                None,
                [width, height],
                [width, height],
                js=_shape_js(across, down),
                queue=False,
                api_visibility="private",
            )
    upscale = gr.Radio(
        [("as painted", 1), ("2 times", 2), ("4 times", 4)],
        value=1,
        label="Enlarge the finished picture",
        info="A second, small network adds pixels and sharpness; the picture itself stays the same.",
        elem_id="easel-upscale",
    )
    return SizePicker(width, height, upscale)


def _side(label: str, elem_id: str) -> gr.Number:
    return gr.Number(
        value=512,
        precision=0,
        minimum=SIZE_RANGE[0],
        maximum=SIZE_RANGE[1],
        step=SIZE_MULTIPLE,
        label=label,
        elem_id=elem_id,
        min_width=90,
    )


def _shape_js(across: int, down: int) -> str:
    """Keep the area, change the shape, round to multiples of 8 within the range."""
    low, high = SIZE_RANGE
    return (
        "(w, h) => { const area = Math.max(1, (w || 512) * (h || 512));"
        f" const fit = (v) => Math.min({high}, Math.max({low}, Math.round(v / {SIZE_MULTIPLE}) * {SIZE_MULTIPLE}));"
        f" return [fit(Math.sqrt(area * {across} / {down})), fit(Math.sqrt(area * {down} / {across}))]; }}"
    )
