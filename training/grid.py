"""One picture of many prompts, drawn by the exported model in plain diffusers, each with its prompt below."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from training.config import Recipe
from training.errors import RecipeError
from training.export import load_pipeline
from training.files import write_atomically


def draw_prompts(pipeline: Any, prompts: list[str], recipe: Recipe, seed: int = 0) -> list[Image.Image]:
    """One picture a prompt, with the recipe's defaults; the seed counts up from `seed`."""
    pictures = []
    for start in range(0, len(prompts), 8):
        part = prompts[start : start + 8]
        generators = [torch.Generator().manual_seed(seed + start + row) for row in range(len(part))]
        pictures += pipeline(
            part, width=recipe.data.size, height=recipe.data.size, num_inference_steps=recipe.model.steps,
            guidance_scale=recipe.model.guidance, generator=generators,
        ).images  # fmt: skip
    return pictures


def draw_grid(model: Path, to: Path, recipe: Recipe, columns: int = 6, shown: int = 192) -> None:
    """Draw the recipe's grid prompts into the PNG `to`, each picture `shown` px wide."""
    prompts = list(recipe.model.grid)
    if not prompts:
        raise RecipeError("The recipe has no grid prompts.", "Fill [model] grid in its TOML file.")
    pictures = draw_prompts(load_pipeline(model), prompts, recipe, recipe.seed)
    made = captioned(_enlarged(pictures, model), prompts, columns, shown)
    write_atomically(to, lambda target: made.save(target, optimize=True))


@torch.no_grad()
def _enlarged(pictures: list[Image.Image], model: Path) -> list[Image.Image]:
    """Four times as large by the upscaler in the model folder; as they are where there is none."""
    from safetensors.torch import load_file

    from training.upscaler import NAME, Upscaler

    path = model / "upscaler" / NAME
    if not path.exists():
        return pictures
    upscaler = Upscaler()
    upscaler.load_state_dict({key: value.float() for key, value in load_file(path).items()})
    batch = torch.stack([torch.from_numpy(np.array(picture)) for picture in pictures])
    large = upscaler(batch.permute(0, 3, 1, 2).float() / 255).clamp(0, 1)
    return [Image.fromarray(picture) for picture in (large * 255 + 0.5).byte().permute(0, 2, 3, 1).numpy()]


def captioned(pictures: list[Image.Image], prompts: list[str], columns: int, shown: int) -> Image.Image:
    """Pictures in rows with their prompts below."""
    gap, line = 12, 34
    rows = -(-len(pictures) // columns)
    canvas = Image.new("RGB", (columns * (shown + gap) + gap, rows * (shown + line + gap) + gap), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=13)
    for number, (picture, prompt) in enumerate(zip(pictures, prompts, strict=True)):
        left, top = gap + number % columns * (shown + gap), gap + number // columns * (shown + line + gap)
        canvas.paste(picture.resize((shown, shown), Image.Resampling.BICUBIC), (left, top))
        for row, words in enumerate(_lines(prompt, pen, font, shown)[:2]):
            pen.text((left + shown // 2, top + shown + 3 + row * 15), words, fill="#333333", font=font, anchor="ma")
    return canvas


def _lines(text: str, pen: ImageDraw.ImageDraw, font: Any, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and pen.textlength(longer, font=font) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
