"""Canny: thin outlines. Canny, "A Computational Approach to Edge Detection", 1986, as OpenCV has it."""

from __future__ import annotations

from typing import Any

from engine.control.preprocessors.base import Parameter, Pixels, Preprocessor, Values, grey


def _edges(pixels: Pixels, values: Values, detector: Any) -> Pixels:
    import cv2

    found: Pixels = cv2.Canny(pixels, values["low"], values["high"])
    return grey(found)


CANNY = Preprocessor(
    "canny",
    "Canny: outlines",
    ("canny",),
    _edges,
    (
        Parameter("low", "Weakest edge that goes on", 1, 255, 100),
        Parameter("high", "Weakest edge to begin with", 1, 255, 200),
    ),
)
