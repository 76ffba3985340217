"""Does "a blue apple" come out blue?"""

from __future__ import annotations

import numpy as np
from PIL import Image

from training.data.compose import HUES

NEAR = 1 / 12
"""Turns of hue (30°) that count as the colour that was asked for."""
GROUND = 40
"""Levels of 255 that a background may differ from the colour that was asked for."""


def dominant_hue(picture: np.ndarray) -> float | None:
    """The most frequent hue (0–1 turns) of (H, W, 3) uint8, weighted by saturation; None for a grey picture."""
    hsv = np.asarray(Image.fromarray(picture).convert("HSV")).astype(np.float32) / 255
    weight = hsv[..., 1] * hsv[..., 2] * (hsv[..., 1] > 0.2)
    if weight.sum() < 0.01 * weight.size:
        return None
    bins = np.bincount((hsv[..., 0] * 36).astype(int).ravel() % 36, weight.ravel(), minlength=36)
    smooth = bins + np.roll(bins, 1) + np.roll(bins, -1)
    return (int(smooth.argmax()) + 0.5) / 36


def is_colour(picture: np.ndarray, word: str) -> bool:
    """Whether the dominant hue is within `NEAR` of the word's."""
    hue = dominant_hue(picture)
    if hue is None:
        return False
    return abs((hue - HUES[word][0] + 0.5) % 1.0 - 0.5) <= NEAR


def share_on_ground(pictures: np.ndarray, colour: tuple[int, int, int]) -> float:
    """How many of (N, H, W, 3) uint8 have corners that differ from `colour` by less than `GROUND` a channel."""
    corners = np.concatenate([pictures[:, :4, :4], pictures[:, :4, -4:]], 2).astype(np.float32)
    apart = np.abs(np.median(corners, (1, 2)) - np.asarray(colour, np.float32)).max(1)
    return float((apart < GROUND).mean())


def colour_prompts(names: list[str], words: list[str], count: int, seed: int) -> list[tuple[str, str]]:
    """`count` different (prompt without style, colour word), spread over names and words. A name that already says
    a colour is left out."""
    free = [name for name in names if not any(word in HUES for word in name.split())]
    pairs = [(name, word) for name in free for word in words]
    rng = np.random.default_rng([seed, 21])
    chosen = [pairs[row] for row in rng.permutation(len(pairs))[:count]]
    return [(f"a {word} {name}", word) for name, word in chosen]
