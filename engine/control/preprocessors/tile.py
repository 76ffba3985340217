"""Tile: the picture without its fine detail, which the ControlNet then draws anew."""

from __future__ import annotations

from typing import Any

from engine.control.preprocessors.base import Parameter, Pixels, Preprocessor, Values


def _coarser(pixels: Pixels, values: Values, detector: Any) -> Pixels:
    import cv2

    height, width = pixels.shape[:2]
    small = (max(1, round(width / values["rate"])), max(1, round(height / values["rate"])))
    result: Pixels = cv2.resize(
        cv2.resize(pixels, small, interpolation=cv2.INTER_AREA), (width, height), interpolation=cv2.INTER_CUBIC
    )
    return result


TILE = Preprocessor(
    "tile_resample",
    "Tile: the picture, coarser",
    ("tile",),
    _coarser,
    (Parameter("rate", "How many times coarser", 1, 8, 1, 0.01),),
    names=("tile",),
)
