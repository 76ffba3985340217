"""Line art of photographs. Chan, Durand, Isola, "Learning to generate line drawings that convey geometry and
semantics", 2022."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.control.preprocessors.base import AnnotatorFile, Pixels, Preprocessor, Values, aux_size

FILES = (AnnotatorFile("sk_model.pth"), AnnotatorFile("sk_model2.pth"))


def load(paths: Sequence[Path]) -> Any:
    """The detector."""
    from controlnet_aux.lineart import LineartDetector

    fine, coarse = (str(path) for path in paths)
    return LineartDetector.from_pretrained(str(paths[0].parent), filename=fine, coarse_filename=coarse)


def _run(pixels: Pixels, detector: Any, coarse: bool) -> Pixels:
    size = aux_size(pixels)
    made = detector(pixels, coarse=coarse, detect_resolution=size, image_resolution=size, output_type="np")
    return np.asarray(made, dtype=np.uint8)


def _fine(pixels: Pixels, values: Values, detector: Any) -> Pixels:
    return _run(pixels, detector, coarse=False)


def _coarse(pixels: Pixels, values: Values, detector: Any) -> Pixels:
    return _run(pixels, detector, coarse=True)


LINEART_REALISTIC = Preprocessor(
    "lineart_realistic", "Line art of photographs", ("lineart",), _fine, (), FILES, load, coarse=True
)
LINEART_COARSE = Preprocessor(
    "lineart_coarse", "Line art of photographs, few lines", ("lineart",), _coarse, (), FILES, load, coarse=True
)
