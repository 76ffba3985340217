"""M-LSD: straight lines of rooms and buildings. Gu et al., "Towards Light-weight and Real-time Line Segment
Detection", 2022."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.control.preprocessors.base import AnnotatorFile, Parameter, Pixels, Preprocessor, Values, aux_size

FILES = (AnnotatorFile("mlsd_large_512_fp32.pth"),)


def load(paths: Sequence[Path]) -> Any:
    """The detector."""
    from controlnet_aux.mlsd import MLSDdetector

    return MLSDdetector.from_pretrained(str(paths[0].parent), filename=str(paths[0]))


def _lines(pixels: Pixels, values: Values, detector: Any) -> Pixels:
    size = aux_size(pixels)
    made = detector(
        pixels,
        thr_v=values["score"],
        thr_d=values["distance"],
        detect_resolution=size,
        image_resolution=size,
        output_type="np",
    )
    return np.asarray(made, dtype=np.uint8)


MLSD = Preprocessor(
    "mlsd",
    "Straight lines (M-LSD)",
    ("mlsd",),
    _lines,
    (
        Parameter("score", "Least certainty", 0.01, 2, 0.1, 0.01),
        Parameter("distance", "Least length", 0.01, 20, 0.1, 0.01),
    ),
    FILES,
    load,
    coarse=True,
)
