"""Draw many prompts with a plain diffusers pipeline, with or without a ControlNet beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.config import Recipe

BATCH = 16


def draw_with(
    pipeline: Any, recipe: Recipe, prompts: list[str], seed: int,
    said: Callable[[int], None] = lambda count: None, **more: Any,
) -> np.ndarray:  # fmt: skip
    """(N, H, W, 3) uint8 with the recipe's steps and guidance; picture i has seed `seed` + i.

    `said` hears how many came with each batch. `more` goes to the pipeline, sliced where it is a list.
    """
    pictures: list[Any] = []
    for start in range(0, len(prompts), BATCH):
        part = slice(start, start + BATCH)
        count = len(prompts[part])
        generators = [torch.Generator().manual_seed(seed + start + row) for row in range(count)]
        mine = {key: value[part] if isinstance(value, list) else value for key, value in more.items()}
        pictures += pipeline(
            prompts[part], width=recipe.data.size, height=recipe.data.size, num_inference_steps=recipe.model.steps,
            guidance_scale=recipe.model.guidance, generator=generators, **mine,
        ).images  # fmt: skip
        said(count)
    return np.stack([np.asarray(picture.convert("RGB")) for picture in pictures])


def load_control(place: Path) -> Any:
    """A ControlNet folder, float32, offline."""
    from diffusers import ControlNetModel

    return ControlNetModel.from_pretrained(str(place), dtype=torch.float32, local_files_only=True).eval()


def with_control(pipeline: Any, control: Any) -> Any:
    """A pipeline of the same parts and `control`."""
    from diffusers import StableDiffusionControlNetPipeline

    parts = {name: part for name, part in pipeline.components.items() if name != "controlnet"}
    made = StableDiffusionControlNetPipeline(**parts, controlnet=control, requires_safety_checker=False)
    made.set_progress_bar_config(disable=True)
    return made
