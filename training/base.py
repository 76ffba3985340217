"""Train the UNet and the text encoder together on the latents of all variants."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from training.autoencoder import autoencoder_settings, load_autoencoder
from training.checkpoints import load_checkpoint, save_checkpoint
from training.config import Recipe
from training.crew import Crew
from training.data.concepts import Concepts, read_concepts
from training.data.latents import Draw, encode_variants
from training.data.pictures import load_pictures, pictures_path
from training.data.variants import list_variants
from training.device import Device
from training.ema import Ema
from training.errors import RecipeError
from training.noise import Noise
from training.progress import Progress
from training.sampler import sample, sheet
from training.text import Compact, Encoder, build_text_encoder, load_text_tools
from training.unet import build_unet


@dataclass
class Parts:
    """The two networks that are trained, with the vocabulary that they were trained on."""

    unet: Any
    text: Any
    compact: Compact
    encoder: Encoder
    tokenizer: Any

    def parameters(self) -> list[nn.Parameter]:
        return [*self.unet.parameters(), *self.text.parameters()]


def build_parts(recipe: Recipe, concepts: Concepts, work: Path) -> Parts:
    """Random weights, seeded by the recipe."""
    torch.manual_seed(recipe.seed)
    tokenizer, compact, encoder = load_text_tools(recipe, concepts, work)
    from training.text import END_ID, START_ID

    text = build_text_encoder(recipe.base, compact.rows, compact.row(START_ID), compact.row(END_ID))
    reduction = 2 ** (len(recipe.autoencoder.encoder_blocks) - 1)
    unet = build_unet(recipe.base, recipe.data.size // reduction, recipe.autoencoder.latent_channels)
    return Parts(unet, text, compact, encoder, tokenizer)


def base_settings(recipe: Recipe, compact: Compact) -> dict[str, Any]:
    """What a checkpoint is bound to: shapes, vocabulary and the latents' meaning."""
    base = recipe.base
    return {
        **autoencoder_settings(recipe), "levels": list(base.levels), "layers": base.layers,
        "attention_at_full": base.attention_at_full, "head_size": base.head_size, "text_width": base.text_width,
        "text_layers": base.text_layers, "tokens": list(compact.tokens),
    }  # fmt: skip


def optimiser_groups(parts: Parts, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay on matrices only: not on biases, norms and embeddings."""
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in [*parts.unet.named_parameters(), *parts.text.named_parameters()]:
        (plain if parameter.ndim < 2 or "embedding.weight" in name else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


def train_base(recipe: Recipe, work: Path, folder: Path, device: Device) -> dict[str, float]:
    """Train, or go on from `folder`/base.pt, until the steps or minutes are over; returns the numbers reached.

    Looks (`looks/…png`: the recipe's grid prompts) and checkpoints are written every `checkpoint_minutes`.
    """
    config = recipe.base
    concepts = read_concepts(recipe.concepts_path(), recipe.data.only)
    sets = {key: load_pictures(pictures_path(folder, key, recipe.data.size)) for key in recipe.data.sets}
    autoencoder = load_autoencoder(recipe, folder)
    variants = list_variants(recipe.data, concepts, sets, recipe.seed)
    latents = encode_variants(autoencoder, variants, sets, folder / "latents.pt", device.place)
    draw = Draw(recipe.data, concepts, variants, latents)
    parts = build_parts(recipe, concepts, work)
    parts.unet.to(device.place, memory_format=torch.channels_last).train()
    parts.text.to(device.place).train()
    parameters = parts.parameters()
    optimiser = torch.optim.AdamW(
        optimiser_groups(parts, config.weight_decay), lr=config.rate, betas=(0.9, 0.99), fused=True
    )
    ema, noise = Ema(parameters, config.ema), Noise(device.place)
    path, settings = folder / "base.pt", base_settings(recipe, parts.compact)
    state = load_checkpoint(path, settings) or {}
    step, seconds = int(state.get("step", 0)), float(state.get("seconds", 0.0))
    mean_loss = float(state.get("loss", 1.0))
    if state:
        parts.unet.load_state_dict(state["unet"])
        parts.text.load_state_dict(state["text"])
        optimiser.load_state_dict(state["optimiser"])
        ema.load(state["ema"])
    if config.workers > 1 and device.place == "cpu":
        torch.set_num_threads(1)  # the crew is the parallelism
    crew = Crew(parts.unet, parts.text, config.workers if device.place == "cpu" else 1)
    torch.manual_seed(recipe.seed + step)
    rng = np.random.default_rng([recipe.seed, 2, step])
    whole = None if config.minutes is None else config.minutes * 60
    progress = Progress("base", config.steps, step, None if whole is None else max(0.0, whole - seconds) / 60)
    count = sum(parameter.numel() for parameter in parameters)
    print(f"{len(variants)} pictures, {parts.compact.rows} tokens, {count / 1e6:.2f} M parameters", flush=True)

    def fraction() -> float:
        by_steps = step / max(1, config.steps)
        return min(1.0, by_steps if whole is None else max(by_steps, (seconds + progress.elapsed) / whole))

    def keep() -> None:
        save_checkpoint(path, {
            "step": step, "seconds": seconds + progress.elapsed, "loss": mean_loss, "unet": parts.unet.state_dict(),
            "text": parts.text.state_dict(), "optimiser": optimiser.state_dict(), "ema": ema.state(),
        }, settings)  # fmt: skip
        with ema.applied():
            _look(recipe, parts, autoencoder, folder, step)

    kept_at = progress.elapsed
    while fraction() < 1.0:
        clean, captions = draw.batch(config.batch, rng)
        clean = clean.to(device.place, memory_format=torch.channels_last)
        t = noise.draw(config.batch, config.low_noise_share)
        noisy, wanted = noise.mix(clean, torch.randn_like(clean), t)
        rate = (
            config.rate
            * min(1.0, (step + 1) / max(1, config.warmup))
            * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * fraction())))
        )
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss = crew.gradients(noisy, wanted, t, parts.encoder(captions).to(device.place), device)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        ema.update()
        step += 1
        if not math.isfinite(value := loss):
            raise RecipeError(
                "The loss is no longer a number.", "Lower `rate` in the recipe and go on from the checkpoint."
            )
        mean_loss += (value - mean_loss) * max(0.005, 1 / step)
        progress.say(step, loss=mean_loss, rate=rate)
        if progress.elapsed - kept_at > config.checkpoint_minutes * 60:
            keep()
            kept_at = progress.elapsed
    if progress.first < step:
        keep()
    return {
        "steps": step, "minutes": (seconds + progress.elapsed) / 60, "loss": mean_loss, "pictures": len(variants),
        "tokens": parts.compact.rows, "concepts": len(concepts.words), "parameters": count, "seen": step * config.batch,
    }  # fmt: skip


def _look(recipe: Recipe, parts: Parts, autoencoder: Any, folder: Path, step: int) -> None:
    """Draw the grid prompts into folder/looks/."""
    if not recipe.model.grid:
        return
    parts.unet.eval()
    parts.text.eval()
    pictures = sample(
        parts.unet, parts.text, autoencoder, parts.encoder(list(recipe.model.grid)), parts.encoder([""]),
        steps=recipe.model.steps, guidance=recipe.model.guidance, seed=recipe.seed,
    )  # fmt: skip
    parts.unet.train()
    parts.text.train()
    (folder / "looks").mkdir(parents=True, exist_ok=True)
    sheet(pictures, 6).save(folder / "looks" / f"step-{step:06d}.png")


def load_parts(recipe: Recipe, concepts: Concepts, work: Path, folder: Path) -> tuple[Parts, dict[str, float]]:
    """The averaged weights of the last checkpoint, in eval mode, and its step and loss."""
    parts = build_parts(recipe, concepts, work)
    state = load_checkpoint(folder / "base.pt", base_settings(recipe, parts.compact))
    if state is None:
        raise RecipeError("There is no trained base model yet.", "Run `python -m training base` first.")
    ema = Ema(parts.parameters(), 0.0)
    ema.load(state["ema"])
    ema._write(ema.shadow)
    parts.unet.eval()
    parts.text.eval()
    return parts, {"step": int(state["step"]), "loss": float(state["loss"]), "minutes": float(state["seconds"]) / 60}
