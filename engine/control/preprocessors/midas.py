"""MiDaS: how near things are. Ranftl et al., "Towards Robust Monocular Depth Estimation", 2020 (DPT hybrid)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.control.preprocessors.base import AnnotatorFile, Pixels, Preprocessor, Values, aux_size

FILES = (AnnotatorFile("dpt_hybrid-midas-501f0c75.pt"),)


def load(paths: Sequence[Path]) -> Any:
    """The detector."""
    from controlnet_aux.midas import MidasDetector

    return MidasDetector.from_pretrained(str(paths[0].parent), filename=str(paths[0]))


def _depth(pixels: Pixels, values: Values, detector: Any) -> Pixels:
    size = aux_size(pixels)
    made = detector(pixels, detect_resolution=size, image_resolution=size, output_type="np")
    return np.asarray(made, dtype=np.uint8)


DEPTH_MIDAS = Preprocessor("depth_midas", "Depth (MiDaS)", ("depth",), _depth, (), FILES, load, coarse=True)
