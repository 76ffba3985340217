"""HED: soft outlines. Xie and Tu, "Holistically-Nested Edge Detection", 2015; weights for controlnet-aux's detector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.control.preprocessors.base import AnnotatorFile, Pixels, Preprocessor, Values, aux_size

FILES = (AnnotatorFile("ControlNetHED.pth"),)


def load(paths: Sequence[Path]) -> Any:
    """The detector."""
    from controlnet_aux.hed import HEDdetector

    return HEDdetector.from_pretrained(str(paths[0].parent), filename=str(paths[0]))


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


SOFTEDGE_HED = Preprocessor("softedge_hed", "Soft edges (HED)", ("softedge",), _soft, (), FILES, load, coarse=True)
SOFTEDGE_HEDSAFE = Preprocessor(
    "softedge_hedsafe", "Soft edges, few shades (HED safe)", ("softedge",), _safe, (), FILES, load, coarse=True
)
SCRIBBLE_HED = Preprocessor("scribble_hed", "Scribble (HED)", ("scribble",), _scribble, (), FILES, load, coarse=True)
