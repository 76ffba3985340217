"""The picture is the hint already: as it is, or with light and dark exchanged."""

from __future__ import annotations

from typing import Any

from engine.control.preprocessors.base import Pixels, Preprocessor, Values


def _same(pixels: Pixels, values: Values, detector: Any) -> Pixels:
    return pixels


def _inverted(pixels: Pixels, values: Values, detector: Any) -> Pixels:
    return 255 - pixels


NONE = Preprocessor("none", "None: the picture is a hint already", (), _same)
INVERT = Preprocessor(
    "invert",
    "Invert: dark lines on white become light lines on black",
    ("lineart", "scribble", "canny", "softedge"),
    _inverted,
    names=("invert (from white bg & black line)",),
)
