"""Draw many prompts with a plain diffusers pipeline, with or without a ControlNet beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from training.config import Recipe
from training.files import write_atomically

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


def draw_kept(folder: Path, pipeline: Any, recipe: Recipe, prompts: list[str], seed: int, **more: Any) -> np.ndarray:
    """The same, kept in `folder` under a hash of all that decides the pictures, weights included: a new judge need
    not wait for pictures that were drawn before."""
    made = hashlib.sha256(repr((prompts, seed, recipe.data.size, recipe.model.steps, recipe.model.guidance)).encode())
    for part in ("unet", "text_encoder", "vae", "controlnet"):
        network = getattr(pipeline, part, None)
        for weight in network.parameters() if network is not None else ():
            made.update(weight.detach().contiguous().numpy().data)
    said = more.pop("said", lambda count: None)
    for name, value in sorted(more.items()):
        made.update(name.encode())
        for each in value if isinstance(value, list) else [value]:
            made.update(each.tobytes() if isinstance(each, Image.Image) else repr(each).encode())
    path = folder / f"{made.hexdigest()[:24]}.npz"
    if path.exists():
        said(len(prompts))
        with np.load(path, allow_pickle=False) as stored:
            return stored["pictures"]
    pictures = draw_with(pipeline, recipe, prompts, seed, said, **more)
    write_atomically(path, lambda target: np.savez_compressed(target, pictures=pictures))
    return pictures


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
