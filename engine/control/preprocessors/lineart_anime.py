"""Line art of drawings: a network trained on anime pictures and their line drawings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.control.preprocessors.base import AnnotatorFile, Pixels, Preprocessor, Values, aux_size

FILES = (AnnotatorFile("netG.pth"),)


def load(paths: Sequence[Path]) -> Any:
    """The detector."""
    from controlnet_aux.lineart_anime import LineartAnimeDetector

    return LineartAnimeDetector.from_pretrained(str(paths[0].parent), filename=str(paths[0]))


def _lines(pixels: Pixels, values: Values, detector: Any) -> Pixels:
    size = aux_size(pixels)
    made = detector(pixels, detect_resolution=size, image_resolution=size, output_type="np")
    return np.asarray(made, dtype=np.uint8)


LINEART_ANIME = Preprocessor(
    "lineart_anime", "Line art of drawings", ("lineart",), _lines, (), FILES, load, coarse=True
)
