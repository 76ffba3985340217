"""Line art without weights: where a picture is darker than its blurred self, there is a line."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.control.preprocessors.base import Parameter, Pixels, Preprocessor, Values, grey

# As strong as half of full white where the lines have their median strength; faint pictures are raised only so far.
HALF = 127.0
FAINTEST = 16.0


def _lines(pixels: Pixels, values: Values, detector: Any) -> Pixels:
    import cv2

    light = pixels.astype(np.float32)
    darker = np.min(cv2.GaussianBlur(light, (0, 0), values["sigma"]) - light, axis=2).clip(0, 255)
    strong = darker[darker > values["threshold"]]
    typical = max(FAINTEST, float(np.median(strong)) if strong.size else 0.0)
    return grey((darker / typical * HALF).clip(0, 255).astype(np.uint8))


LINEART_STANDARD = Preprocessor(
    "lineart_standard",
    "Line art, plain: dark lines on a light ground",
    ("lineart",),
    _lines,
    (
        Parameter("sigma", "Width of the blur in px", 1, 20, 6, 0.5),
        Parameter("threshold", "Faintest line that counts", 1, 64, 8),
    ),
    names=("lineart_standard (from white bg & black line)",),
)
