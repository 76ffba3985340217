"""Is a drawn picture a copy? The nearest learnt picture of each drawn one, as numbers and side by side.

Distance: mean squared difference of 16×16 px pictures; the mirrored learnt pictures count too.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from training.config import Recipe
from training.data.compose import BACKGROUNDS, on_background
from training.data.concepts import Concepts
from training.data.pictures import Pictures
from training.evaluation.documents import save_png

Label = tuple[str, str]
"""(set, slug)."""


def learnt_pictures(concepts: Concepts, sets: dict[str, Pictures]) -> tuple[np.ndarray, list[Label]]:
    """(N, H, W, 3) uint8 of every learnt thing on white, in both directions, and what each is."""
    pictures, labels = [], []
    for key, drawn in sets.items():
        for slug in concepts.words:
            cutout = drawn.find(slug)
            if cutout is not None:
                picture = on_background(cutout, BACKGROUNDS["white"])
                pictures += [picture, picture[:, ::-1]]
                labels += [(key, slug)] * 2
    return np.stack(pictures), labels


def score(drawn: np.ndarray, learnt: np.ndarray, labels: list[Label], asked: list[Label]) -> dict[str, float]:
    """Shares of `drawn` whose nearest `learnt` picture has the right thing, style, both; and thing in the top 5."""
    order = distances(drawn, learnt).argsort(1)
    first = [labels[row[0]] for row in order]
    return {
        "right_thing": float(np.mean([near[1] == want[1] for near, want in zip(first, asked, strict=True)])),
        "right_style": float(np.mean([near[0] == want[0] for near, want in zip(first, asked, strict=True)])),
        "right_both": float(np.mean([near == want for near, want in zip(first, asked, strict=True)])),
        "thing_in_top_5": float(np.mean([
            want[1] in {labels[number][1] for number in row[:5]} for row, want in zip(order, asked, strict=True)
        ])),
    }  # fmt: skip


def distances(drawn: np.ndarray, learnt: np.ndarray) -> np.ndarray:
    """(D, L) float32 from pictures (…, H, W, 3) uint8."""
    small, known = (np.stack([_small(picture) for picture in group]) for group in (drawn, learnt))
    return np.stack([np.square(one - known).mean((1, 2, 3)) for one in small])


def measure_neighbours(
    recipe: Recipe, drawn: np.ndarray, asked: list[Label], concepts: Concepts, sets: dict[str, Pictures], to: Path
) -> dict[str, float]:
    """Numbers over the drawn pictures, and the PNG `to`: pairs of (drawn, nearest learnt), ten in a row."""
    learnt, labels = learnt_pictures(concepts, sets)
    apart = distances(drawn, learnt)
    near = learnt[apart.argmin(1)]
    size = recipe.data.size
    gap = 255 * np.ones((len(drawn), size, size // 8, 3), np.uint8)
    pairs = np.concatenate([drawn, near, gap], 2)
    rows = [np.concatenate(list(pairs[start : start + 10]), 1) for start in range(0, len(pairs) // 10 * 10, 10)]
    if rows:
        save_png(to, Image.fromarray(np.concatenate(rows)))
    others = distances(near, learnt)
    for row, nearest in enumerate(apart.argmin(1)):
        others[row, [label == labels[nearest] for label in labels]] = np.inf
    own = apart.min(1)
    return {
        "pictures": float(len(drawn)),
        **score(drawn, learnt, labels, asked),
        "distance": float(np.median(own)),
        "distance_between_learnt": float(np.median(others.min(1))),
    }


def _small(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 → (16, 16, 3) float32 in 0–1."""
    return np.asarray(Image.fromarray(picture).resize((16, 16), Image.Resampling.BOX), np.float32) / 255.0
