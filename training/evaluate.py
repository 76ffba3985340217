"""A light check of the exported model: is the learnt picture nearest to a drawn one the picture that was asked for?

No classifier is needed: the model learns few pictures, so each drawn one is compared with all of them (16×16, mean
squared distance, both directions). Chance is 1 in the number of concepts.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from training.captions import Scene, Subject, plain_caption
from training.config import Recipe
from training.data.compose import BACKGROUNDS, on_background
from training.data.concepts import read_concepts
from training.data.pictures import load_pictures, pictures_path
from training.data.sets import SETS
from training.export import load_pipeline
from training.grid import draw_prompts


def evaluate_model(recipe: Recipe, folder: Path, model: Path, count: int = 120) -> dict[str, float]:
    """`count` prompts "a NAME, STYLE", spread over concepts and sets; shares in 0–1."""
    concepts = read_concepts(recipe.concepts_path(), recipe.data.only)
    rng = np.random.default_rng([recipe.seed, 3])
    sets = {key: load_pictures(pictures_path(folder, key, recipe.data.size)) for key in recipe.data.sets}
    learnt, labels = [], []
    for key, pictures in sets.items():
        for slug in concepts.words:
            cutout = pictures.find(slug)
            if cutout is not None:
                small = _small(on_background(cutout, BACKGROUNDS["white"]))
                learnt += [small, small[:, ::-1]]
                labels += [(key, slug)] * 2
    asked = [labels[number] for number in rng.choice(len(labels), min(count, len(labels)), False)]
    prompts = []
    for key, slug in asked:
        style = SETS[key].styles[0] if key in SETS else key
        prompts.append(plain_caption(Scene((Subject(concepts.words[slug][0]),), style)))
    drawn = np.stack([_small(np.asarray(picture)) for picture in draw_prompts(load_pipeline(model), prompts, recipe)])
    return {"prompts": float(len(asked)), **score(drawn, np.stack(learnt), labels, asked)}


def score(
    drawn: np.ndarray, learnt: np.ndarray, labels: list[tuple[str, str]], asked: list[tuple[str, str]]
) -> dict[str, float]:
    """Shares of `drawn` whose nearest `learnt` picture has the right thing, style, both; and thing in the top 5."""
    distances = np.square(drawn[:, None] - learnt[None]).mean((2, 3, 4))
    order = distances.argsort(1)
    first = [labels[row[0]] for row in order]
    return {
        "right_thing": float(np.mean([near[1] == want[1] for near, want in zip(first, asked, strict=True)])),
        "right_style": float(np.mean([near[0] == want[0] for near, want in zip(first, asked, strict=True)])),
        "right_both": float(np.mean([near == want for near, want in zip(first, asked, strict=True)])),
        "thing_in_top_5": float(np.mean([
            want[1] in {labels[number][1] for number in row[:5]} for row, want in zip(order, asked, strict=True)
        ])),
    }  # fmt: skip


def _small(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 → (16, 16, 3) float32 in 0–1."""
    return np.asarray(Image.fromarray(picture).resize((16, 16), Image.Resampling.BOX), np.float32) / 255.0
