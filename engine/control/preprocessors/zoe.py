"""ZoeDepth: how near things are. Bhat et al., "ZoeDepth: Zero-shot Transfer", 2023."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.control.preprocessors.base import AnnotatorFile, Pixels, Preprocessor, Values, aux_size

FILES = (AnnotatorFile("ZoeD_M12_N.pt"),)


def load(paths: Sequence[Path]) -> Any:
    """The detector."""
    from controlnet_aux.zoe import ZoeDetector

    return ZoeDetector.from_pretrained(str(paths[0].parent), filename=str(paths[0]))


def _depth(pixels: Pixels, values: Values, detector: Any) -> Pixels:
    size = aux_size(pixels)
    made = detector(pixels, detect_resolution=size, image_resolution=size, output_type="np")
    return np.asarray(made, dtype=np.uint8)


DEPTH_ZOE = Preprocessor("depth_zoe", "Depth (ZoeDepth)", ("depth",), _depth, (), FILES, load, coarse=True)
