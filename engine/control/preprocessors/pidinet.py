"""PidiNet: soft outlines. Su et al., "Pixel Difference Networks for Efficient Edge Detection", 2021."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.control.preprocessors.base import AnnotatorFile, Pixels, Preprocessor, Values, aux_size

FILES = (AnnotatorFile("table5_pidinet.pth"),)


def load(paths: Sequence[Path]) -> Any:
    """The detector."""
    from controlnet_aux.pidi import PidiNetDetector

    return PidiNetDetector.from_pretrained(str(paths[0].parent), filename=str(paths[0]))


def _run(pixels: Pixels, detector: Any, **options: Any) -> Pixels:
    size = aux_size(pixels)
    return np.asarray(
        detector(pixels, detect_resolution=size, image_resolution=size, output_type="np", **options), dtype=np.uint8
    )


def _soft(pixels: Pixels, values: Values, detector: Any) -> Pixels:
    return _run(pixels, detector)


def _safe(pixels: Pixels, values: Values, detector: Any) -> Pixels:
    return _run(pixels, detector, safe=True)


def _scribble(pixels: Pixels, values: Values, detector: Any) -> Pixels:
    return _run(pixels, detector, scribble=True)


SOFTEDGE_PIDINET = Preprocessor(
    "softedge_pidinet", "Soft edges (PidiNet)", ("softedge",), _soft, (), FILES, load, coarse=True
)
SOFTEDGE_PIDISAFE = Preprocessor(
    "softedge_pidisafe", "Soft edges, few shades (PidiNet safe)", ("softedge",), _safe, (), FILES, load, coarse=True
)
SCRIBBLE_PIDINET = Preprocessor(
    "scribble_pidinet", "Scribble (PidiNet)", ("scribble",), _scribble, (), FILES, load, coarse=True
)
