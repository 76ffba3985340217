"""Normals: which way surfaces face. Bae, Budvytis, Cipolla, "Estimating and Exploiting the Aleatoric Uncertainty in
Surface Normal Estimation", 2021."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.control.preprocessors.base import AnnotatorFile, Pixels, Preprocessor, Values, aux_size

FILES = (AnnotatorFile("scannet.pt"),)


def load(paths: Sequence[Path]) -> Any:
    """The detector."""
    from controlnet_aux.normalbae import NormalBaeDetector

    return NormalBaeDetector.from_pretrained(str(paths[0].parent), filename=str(paths[0]))


def _normals(pixels: Pixels, values: Values, detector: Any) -> Pixels:
    size = aux_size(pixels)
    made = detector(pixels, detect_resolution=size, image_resolution=size, output_type="np")
    return np.asarray(made, dtype=np.uint8)


NORMAL_BAE = Preprocessor("normal_bae", "Surfaces (normals)", ("normal",), _normals, (), FILES, load, coarse=True)
