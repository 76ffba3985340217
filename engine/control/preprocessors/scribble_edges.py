"""Scribble from edges, without weights: the outlines of a smoothed picture, drawn with a thick pen."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.control.preprocessors.base import Parameter, Pixels, Preprocessor, Values, grey

# Pen and smoothing are told for a picture of this many pixels, and grow and shrink with it.
USUAL_SIDE = 512


def _scribbled(pixels: Pixels, values: Values, detector: Any) -> Pixels:
    import cv2

    scale = min(pixels.shape[:2]) / USUAL_SIDE
    smooth = cv2.GaussianBlur(pixels, (0, 0), max(0.5, values["smoothing"] * scale))
    edges = cv2.Canny(smooth, values["threshold"] / 2, values["threshold"])
    pen = max(1, round(values["thickness"] * scale))
    drawn = cv2.dilate(edges, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (pen, pen)))
    return grey(np.where(drawn > 0, 255, 0).astype(np.uint8))


SCRIBBLE_EDGES = Preprocessor(
    "scribble_edges",
    "Scribble: thick outlines",
    ("scribble",),
    _scribbled,
    (
        Parameter("smoothing", "How much small detail is left out", 0.5, 10, 2, 0.5),
        Parameter("threshold", "Weakest edge", 10, 255, 100),
        Parameter("thickness", "Width of the pen in px at 512 px", 1, 24, 6),
    ),
)
