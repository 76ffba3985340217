"""Hints for ControlNets, worked out from pictures. All pictures (H, W, 3) uint8; hints too, white lines on black."""

from __future__ import annotations

import cv2
import numpy as np

CANNY = (100, 200)
"""OpenCV's thresholds, the ones that preprocessors begin with."""


def canny_lines(picture: np.ndarray) -> np.ndarray:
    """(H, W) bool: thin edges."""
    return cv2.Canny(np.ascontiguousarray(picture), *CANNY) > 0


def scribble_lines(picture: np.ndarray) -> np.ndarray:
    """(H, W) bool: the main outlines, as a hand would draw them: of a smoothed picture, short ones left out."""
    smooth = cv2.GaussianBlur(np.ascontiguousarray(picture), (0, 0), picture.shape[0] / 40)
    edges = cv2.Canny(smooth, 40, 120)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(edges, connectivity=8)
    long = [row for row in range(1, count) if stats[row, cv2.CC_STAT_AREA] >= picture.shape[0] // 7]
    return np.isin(labels, long)


def scribble_from(lines: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
    """Lines → thick strokes (3 px at 64 px), with `rng` bent by up to a pixel and a half as a hand would."""
    size = lines.shape[0]
    image = lines.astype(np.uint8) * 255
    if rng is not None:
        rough = rng.uniform(-1, 1, (2, 4, 4)).astype(np.float32) * (1.5 * size / 64)
        shift = [cv2.resize(part, (size, size), interpolation=cv2.INTER_CUBIC) for part in rough]
        down, across = np.mgrid[:size, :size].astype(np.float32)
        image = cv2.remap(image, across + shift[0], down + shift[1], cv2.INTER_NEAREST)
    width = max(2, round(3 * size / 64))
    return as_hint(cv2.dilate(image, np.ones((width, width), np.uint8)) > 127)


def as_hint(lines: np.ndarray) -> np.ndarray:
    """(H, W) bool → (H, W, 3) uint8."""
    return np.repeat((lines.astype(np.uint8) * 255)[..., None], 3, 2)


def lines_of(kind: str, picture: np.ndarray) -> np.ndarray:
    """The thin lines (H, W) bool that a hint of `kind` ("canny" or "scribble") is made of."""
    return canny_lines(picture) if kind == "canny" else scribble_lines(picture)


def hint_of(kind: str, picture: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
    """The hint (H, W, 3) uint8; `rng` makes scribbles rough."""
    lines = lines_of(kind, picture)
    return as_hint(lines) if kind == "canny" else scribble_from(lines, rng)


def line_agreement(made: np.ndarray, wanted: np.ndarray, tolerance: int = 1) -> float:
    """F1 of two line maps (H, W) bool: a point counts where the other has one within `tolerance` px."""
    if not made.any() or not wanted.any():
        return float(made.any() == wanted.any())
    near = np.ones((2 * tolerance + 1,) * 2, np.uint8)
    precision = (made & (cv2.dilate(wanted.astype(np.uint8), near) > 0)).sum() / made.sum()
    recall = (wanted & (cv2.dilate(made.astype(np.uint8), near) > 0)).sum() / wanted.sum()
    return float(2 * precision * recall / max(1e-9, precision + recall))
