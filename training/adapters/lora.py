"""Train one adapter on the frozen base and write its file, preview and sidecar."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from torch.nn.utils import parametrize

from training.adapters.config import LoraConfig
from training.adapters.frozen import FrozenBase, draw_of_set
from training.adapters.layouts import check_finite, to_tensors
from training.adapters.loop import run_course
from training.adapters.metadata import (
    hash_of_base,
    lora_metadata,
    save_with_hashes,
    settings_of,
    trigger_of,
    write_sidecar,
)  # fmt: skip
from training.adapters.preview import draw_preview
from training.adapters.targets import attach, detach
from training.config import Recipe
from training.device import Device
from training.errors import RecipeError
from training.noise import Noise

LIMIT = 8_000_000
"""Bytes: an adapter file must stay below."""


def train_lora(config: LoraConfig, recipe: Recipe, folder: Path, model: Path, device: Device) -> dict[str, float]:
    """Train, or go on from `folder`/adapters/NAME.pt; writes `model`/loras/NAME.safetensors, .png and .json."""
    base = FrozenBase(model, device.place)
    draw = draw_of_set(recipe, folder, base, config.set)
    torch.manual_seed(recipe.seed)
    patches = attach(config, base.unet, base.text)
    for patch in patches:
        patch.change.to(device.place)
    noise = Noise(device.place)
    parameters = [parameter for patch in patches for parameter in patch.change.parameters()]
    count = sum(parameter.numel() for parameter in parameters)
    print(f"{config.name}: {len(patches)} layers, {count / 1e6:.2f} M parameters, {len(draw.variants)} pictures")

    def loss_of(batch: int, rng: np.random.Generator) -> torch.Tensor:
        clean, captions = draw.batch(batch, rng)
        clean = clean.to(device.place, memory_format=torch.channels_last)
        t = noise.draw(batch, recipe.base.low_noise_share)
        noisy, wanted = noise.mix(clean, torch.randn_like(clean), t)
        with device.autocast(), parametrize.cached():
            states = base.text(base.tokens(captions)).last_hidden_state if config.text else base.embed(captions)
            made = base.unet(noisy, t, states).sample
        return F.mse_loss(made.float(), wanted)

    settings = settings_of(config, hash_of_base(model), recipe.data.size, recipe.seed)
    path = folder / "adapters" / f"{config.name}.pt"
    numbers = run_course(config.name, config.course, parameters, loss_of, path, settings, recipe.seed)
    numbers["parameters"] = float(count)
    slugs = dict.fromkeys(variant.slugs[0] for variant in draw.variants)
    names = [draw.concepts.words[slug][0] for slug in slugs]
    tensors = to_tensors(patches, config.layout)
    check_finite(tensors, config.name)
    target = model / "loras" / f"{config.name}.safetensors"
    save_with_hashes(target, tensors, lora_metadata(config, recipe, names, numbers))
    if target.stat().st_size > LIMIT:
        size = target.stat().st_size
        target.unlink()
        raise RecipeError(f"{config.name} takes {size / 1e6:.1f} MB, more than {LIMIT / 1e6:.1f}.", "Lower its rank.")
    draw_preview(target.with_suffix(".png"), base, recipe, trigger_of(config.set))
    write_sidecar(target.with_suffix(".json"), config)
    detach(patches)
    return {**numbers, "bytes": float(target.stat().st_size), "things": float(len(names))}
