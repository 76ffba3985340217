"""Inpaint: the picture with what is to be drawn anew marked: where it is transparent."""

from __future__ import annotations

from typing import Any

from engine.control.preprocessors.base import Pixels, Preprocessor, Values


def _kept(pixels: Pixels, values: Values, detector: Any) -> Pixels:
    return pixels


INPAINT = Preprocessor(
    "inpaint",
    "Inpaint: transparent parts are drawn anew",
    ("inpaint",),
    _kept,
    names=("inpaint_only", "inpaint_global_harmonious"),
)
