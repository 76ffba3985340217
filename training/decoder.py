"""Sharpen the decoder on the pictures that the base learns.

The encoder stays, so the learnt latents stay valid.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.autoencoder import autoencoder_settings, load_autoencoder, psnr, reconstruction_loss, to_tensor
from training.checkpoints import load_checkpoint, save_checkpoint
from training.config import Recipe
from training.data.concepts import read_concepts
from training.data.pictures import load_pictures, pictures_path
from training.data.variants import draw_variant, list_variants
from training.device import Device
from training.ema import Ema
from training.progress import Progress


def train_decoder(recipe: Recipe, folder: Path, device: Device) -> dict[str, float]:
    """Fine-tune for the recipe's `decoder_steps` or `decoder_minutes`; writes `folder`/decoder.pt when it is done.

    Raises `RecipeError` when there is no autoencoder or no latents yet.
    """
    config = recipe.autoencoder
    torch.manual_seed(recipe.seed)
    concepts = read_concepts(recipe.concepts_path(), recipe.data.only)
    sets = {key: load_pictures(pictures_path(folder, key, recipe.data.size)) for key in recipe.data.sets}
    variants = list_variants(recipe.data, concepts, sets, recipe.seed)
    plain = np.asarray([row for row, variant in enumerate(variants) if not variant.background])
    model = load_autoencoder(recipe, folder).to(device.place, memory_format=torch.channels_last)
    parameters = list(model.decoder.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=config.rate, betas=(0.9, 0.99), weight_decay=0.0)
    ema, rng = Ema(parameters, 0.99), np.random.default_rng([recipe.seed, 4])
    progress = Progress("decoder", config.decoder_steps, 0, config.decoder_minutes)
    step, reached = 0, 0.0
    while not progress.over(step):
        rows = [
            int(plain[rng.integers(len(plain))] if rng.random() < 0.7 else rng.integers(len(variants)))
            for _ in range(config.batch)
        ]
        wanted = to_tensor(np.stack([draw_variant(variants[row], sets) for row in rows]))
        wanted = wanted.to(device.place, memory_format=torch.channels_last)
        for group in optimiser.param_groups:
            group["lr"] = (
                config.rate
                * min(1.0, (step + 1) / 30)
                * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress.fraction(step))))
            )
        with torch.no_grad():
            latents = model.encode(wanted).latents
        with device.autocast():
            made = model.decode(latents + 1.5 * config.noise * torch.randn_like(latents)).sample
            loss = reconstruction_loss(made.float(), wanted)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        ema.update()
        step += 1
        now = psnr(made.detach().float(), wanted)
        reached = now if step == 1 else 0.98 * reached + 0.02 * now
        progress.say(step, loss=float(loss.detach()), psnr=reached)
    with ema.applied():
        save_checkpoint(folder / "decoder.pt", {"decoder": model.decoder.state_dict()}, autoencoder_settings(recipe))
    return {"steps": step, "minutes": progress.elapsed / 60, "psnr_with_noise": reached}


def load_tuned_autoencoder(recipe: Recipe, folder: Path) -> Any:
    """The autoencoder with the sharpened decoder, or as it is where that step was left out."""
    model = load_autoencoder(recipe, folder)
    state = load_checkpoint(folder / "decoder.pt", autoencoder_settings(recipe))
    if state is not None:
        model.decoder.load_state_dict(state["decoder"])
    return model
