"""Textual inversion (arxiv.org/abs/2208.01618): a few vectors that stand for a look, everything else frozen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from training.adapters.config import EmbeddingConfig
from training.adapters.frozen import FrozenBase, draw_of_set
from training.adapters.loop import run_course
from training.adapters.metadata import (
    embedding_metadata,
    hash_of_base,
    save_with_hashes,
    settings_of,
    trigger_of,
    write_sidecar,
)  # fmt: skip
from training.adapters.preview import draw_preview
from training.captions import Scene, varied_caption
from training.config import Recipe
from training.data.variants import scene_of
from training.device import Device
from training.errors import RecipeError
from training.noise import Noise


class NewWords:
    """`vectors` (n, width) looked up for n tokens that are added behind the vocabulary."""

    def __init__(self, base: FrozenBase, count: int, start: str) -> None:
        self.words = [f"<easel-{number}>" for number in range(count)]
        table = base.text.get_input_embeddings()
        ids = base.tokenizer(start, add_special_tokens=False).input_ids
        if not ids:
            raise RecipeError("The words that an embedding begins as are empty.", "Fill `start` in the recipe.")
        begun = table.weight[torch.tensor([ids[number % len(ids)] for number in range(count)])]
        self.vectors = nn.Parameter(begun.detach().clone())
        base.tokenizer.add_tokens(self.words)
        self.ids = [int(base.tokenizer.convert_tokens_to_ids(word)) for word in self.words]
        base.text.resize_token_embeddings(max(table.num_embeddings, max(self.ids) + 1), mean_resizing=False)
        base.text.requires_grad_(False)
        base.text.get_input_embeddings().register_forward_hook(self._replace)

    @property
    def phrase(self) -> str:
        """What stands in a caption."""
        return " ".join(self.words)

    def _replace(self, module: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
        for row, token in enumerate(self.ids):
            output = torch.where((inputs[0] == token)[..., None], self.vectors[row], output)
        return output


def train_embedding(
    config: EmbeddingConfig, recipe: Recipe, folder: Path, model: Path, device: Device
) -> dict[str, float]:
    """Train, or go on from `folder`/adapters/NAME.pt; writes `model`/embeddings/NAME.safetensors, .png and .json."""
    base = FrozenBase(model, device.place)
    draw = draw_of_set(recipe, folder, base, config.set, config.ground)
    words = NewWords(base, config.vectors, config.start)
    noise, trigger = Noise(device.place), trigger_of(config.set)

    def loss_of(batch: int, rng: np.random.Generator) -> torch.Tensor:
        rows, _ = draw.pick(batch, rng)
        captions = []
        for row in rows:
            scene = scene_of(draw.variants[row], draw.concepts, True, rng)
            styled = Scene(scene.subjects, trigger)  # the word says the background too
            captions.append(varied_caption(styled, rng).replace(trigger, words.phrase))
        clean = draw.latents[torch.tensor(rows)].to(device.place, memory_format=torch.channels_last)
        t = noise.draw(batch, recipe.base.low_noise_share)
        noisy, wanted = noise.mix(clean, torch.randn_like(clean), t)
        with device.autocast():
            made = base.unet(noisy, t, base.text(base.tokens(captions)).last_hidden_state).sample
        return F.mse_loss(made.float(), wanted)

    settings = settings_of(config, hash_of_base(model), recipe.data.size, recipe.seed)
    path = folder / "adapters" / f"{config.name}.pt"
    numbers = run_course(config.name, config.course, [words.vectors], loss_of, path, settings, recipe.seed)
    target = model / "embeddings" / f"{config.name}.safetensors"
    tensors = {"emb_params": words.vectors.detach().to("cpu", torch.float16).contiguous()}
    save_with_hashes(target, tensors, embedding_metadata(config, recipe, numbers))
    draw_preview(target.with_suffix(".png"), base, recipe, words.phrase)
    write_sidecar(target.with_suffix(".json"), config)
    return {**numbers, "bytes": float(target.stat().st_size)}
