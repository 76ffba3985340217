"""The small picture beside an adapter: four things drawn with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.nn.utils import parametrize

from training.adapters.frozen import FrozenBase
from training.captions import Scene, Subject, plain_caption
from training.config import Recipe
from training.data.concepts import read_concepts
from training.files import write_atomically
from training.sampler import sample, sheet

SHOWN = ("red_apple", "cat_face", "castle", "rocket")


@torch.no_grad()
def draw_prompts(base: FrozenBase, recipe: Recipe, prompts: list[str], seed: int) -> np.ndarray:
    """(N, H, W, 3) uint8 with whatever is attached to the base; one seed a picture, counted up from `seed`."""
    made = []
    for start in range(0, len(prompts), 16):
        part = prompts[start : start + 16]
        with parametrize.cached():
            made.append(sample(
                base.unet, base.text, base.vae, base.tokens(part), base.tokens([""]),
                steps=recipe.model.steps, guidance=recipe.model.guidance, seed=seed + start,
            ))  # fmt: skip
    return np.concatenate(made)


def draw_preview(path: Path, base: FrozenBase, recipe: Recipe, trigger: str) -> None:
    """Two rows of two as a PNG of 256 px for a base of 64 px."""
    concepts = read_concepts(recipe.concepts_path(), recipe.data.only)
    slugs = [slug for slug in SHOWN if slug in concepts.words] or list(concepts.words)
    prompts = [plain_caption(Scene((Subject(concepts.words[slug][0]),), trigger)) for slug in slugs[:4]]
    pictures = sheet(draw_prompts(base, recipe, prompts, recipe.seed), 2)
    write_atomically(path, lambda target: pictures.save(target, optimize=True))
    path.chmod(0o644)
