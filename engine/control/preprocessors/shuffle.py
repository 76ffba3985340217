"""Shuffle: the picture's colours carried about by a smooth random flow, so that its forms are gone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.control.preprocessors.base import Parameter, Pixels, Preprocessor, Values


def _shuffled(pixels: Pixels, values: Values, detector: Any) -> Pixels:
    import cv2

    height, width = pixels.shape[:2]
    random = np.random.default_rng(int(values["seed"]))
    x = _flow(random, height, width, int(values["size"])) * (width - 1)
    y = _flow(random, height, width, int(values["size"])) * (height - 1)
    moved: Pixels = cv2.remap(pixels, x, y, cv2.INTER_LINEAR)
    return moved


def _flow(random: np.random.Generator, height: int, width: int, size: int) -> NDArray[np.float32]:
    """Smooth noise 0.0–1.0, shape (height, width): one random value every `size` px, cubic in between."""
    import cv2

    coarse = random.random((height // size + 2, width // size + 2), dtype=np.float32)
    fine = cv2.resize(coarse, (width + 2 * size, height + 2 * size), interpolation=cv2.INTER_CUBIC)
    cut: NDArray[np.float32] = fine[size : size + height, size : size + width]
    low, high = float(cut.min()), float(cut.max())
    return np.ascontiguousarray((cut - low) / max(high - low, 1e-6), dtype=np.float32)


SHUFFLE = Preprocessor(
    "shuffle",
    "Shuffle: colours without forms",
    ("shuffle",),
    _shuffled,
    (
        Parameter("size", "Size of the swirls in px", 16, 512, 256),
        Parameter("seed", "Seed of the flow", 0, 9999, 0),
    ),
)
