"""The picture autoencoder: RGB of (B, 3, H, W) in −1…1 ↔ latents of (B, C, H/4, W/4) with mean 0 and deviation 1.

Stable Diffusion pipelines know only one number about latents, `scaling_factor`. So the channels are pulled to zero
mean and unit deviation while training, and `scaling_factor` is 1.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from training.checkpoints import load_checkpoint, save_checkpoint
from training.config import AutoencoderConfig, Recipe
from training.data.compose import BACKGROUNDS, HUES, on_background, recolour
from training.data.pictures import Pictures
from training.device import Device
from training.ema import Ema
from training.errors import RecipeError
from training.progress import Progress


def build_autoencoder(config: AutoencoderConfig) -> Any:
    """A diffusers `AutoencoderTiny` with random weights."""
    from diffusers import AutoencoderTiny

    return AutoencoderTiny(
        encoder_block_out_channels=(config.width,) * len(config.encoder_blocks),
        decoder_block_out_channels=(config.width,) * len(config.decoder_blocks),
        num_encoder_blocks=tuple(config.encoder_blocks),
        num_decoder_blocks=tuple(config.decoder_blocks),
        latent_channels=config.latent_channels,
        upsampling_scaling_factor=2,
        scaling_factor=1.0,
        shift_factor=0.0,
    )


def to_tensor(pictures: np.ndarray) -> torch.Tensor:
    """(N, H, W, 3) uint8 → (N, 3, H, W) float32 in −1…1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def reconstruction_loss(made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """L1, plus L1 of the horizontal and vertical differences (edges), plus a little squared error."""
    error = made - wanted
    across = (error[..., 1:] - error[..., :-1]).abs().mean()
    down = (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    return error.abs().mean() + 0.5 * (across + down) + error.square().mean()


def moment_loss(latents: torch.Tensor) -> torch.Tensor:
    """Zero when each channel has mean 0 and deviation 1 over the batch."""
    mean = latents.mean((0, 2, 3))
    deviation = latents.std((0, 2, 3)) + 1e-6
    return mean.square().mean() + deviation.log().square().mean()


def draw_pictures(sets: list[Pictures], count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` random training pictures (count, H, W, 3): any set, any background, flips, some in other hues."""
    batch = []
    colours = list(BACKGROUNDS.values())
    for _ in range(count):
        pictures = sets[rng.integers(len(sets))]
        cutout = pictures.rgba[rng.integers(len(pictures.rgba))]
        if rng.random() < 0.15:
            cutout = recolour(cutout, list(HUES)[rng.integers(len(HUES))])
        background = BACKGROUNDS["white"] if rng.random() < 0.6 else colours[rng.integers(len(colours))]
        picture = on_background(cutout, background)
        batch.append(picture[:, ::-1] if rng.random() < 0.5 else picture)
    return np.stack(batch)


def psnr(made: torch.Tensor, wanted: torch.Tensor) -> float:
    """Peak signal-to-noise ratio in decibels for pictures in −1…1."""
    return 10 * math.log10(4.0 / max(1e-12, float((made.clamp(-1, 1) - wanted).square().mean())))


def train_autoencoder(recipe: Recipe, sets: list[Pictures], folder: Path, device: Device) -> dict[str, float]:
    """Train, or go on from `folder`/autoencoder.pt, until the steps or minutes are over; returns the numbers reached.

    With the file complete it only measures. The averaged weights are what is kept and used.
    """
    config = recipe.autoencoder
    torch.manual_seed(recipe.seed)
    model = build_autoencoder(config).to(device.place, memory_format=torch.channels_last)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=config.rate, betas=(0.9, 0.99), weight_decay=0.0)
    ema = Ema(parameters, 0.998)
    path, settings = folder / "autoencoder.pt", autoencoder_settings(recipe)
    state = load_checkpoint(path, settings) or {}
    step, seconds = int(state.get("step", 0)), float(state.get("seconds", 0.0))
    if state:
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        ema.load(state["ema"])
    rng = np.random.default_rng([recipe.seed, step])
    minutes = None if config.minutes is None else max(0.0, config.minutes - seconds / 60)
    progress = Progress("autoencoder", config.steps, step, minutes)
    done = bool(state.get("done", False))

    def save(finished: bool) -> None:
        save_checkpoint(path, {
            "step": step, "seconds": seconds + progress.elapsed, "done": finished, "model": model.state_dict(),
            "optimiser": optimiser.state_dict(), "ema": ema.state(),
        }, settings)  # fmt: skip

    saved_at = progress.elapsed
    while not done and not progress.over(step):
        wanted = to_tensor(draw_pictures(sets, config.batch, rng)).to(device.place, memory_format=torch.channels_last)
        rate = (
            config.rate
            * min(1.0, (step + 1) / 50)
            * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress.fraction(step))))
        )
        for group in optimiser.param_groups:
            group["lr"] = rate
        with device.autocast():
            latents = model.encode(wanted).latents
            made = model.decode(latents + config.noise * torch.randn_like(latents)).sample
            loss = reconstruction_loss(made, wanted) + 0.1 * moment_loss(latents.float())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        ema.update()
        step += 1
        if not math.isfinite(value := float(loss.detach())):
            raise RecipeError("The autoencoder's loss is no longer a number.", "Lower its `rate` in the recipe.")
        progress.say(step, loss=value, psnr=psnr(made.detach().float(), wanted))
        if progress.elapsed - saved_at > 120:
            save(False)
            saved_at = progress.elapsed
    if not done:
        save(True)
    with ema.applied():
        return {
            "steps": step,
            "minutes": (seconds + progress.elapsed) / 60,
            **measure(model, sets, recipe.seed, device),
        }


@torch.no_grad()
def measure(model: Any, sets: list[Pictures], seed: int, device: Device, count: int = 256) -> dict[str, float]:
    """PSNR over `count` drawn pictures, and the latents' mean and deviation."""
    wanted = to_tensor(draw_pictures(sets, count, np.random.default_rng([seed, 999_983]))).to(device.place)
    latents = torch.cat([model.encode(part).latents for part in wanted.split(64)])
    made = torch.cat([model.decode(part).sample for part in latents.split(64)])
    return {"psnr": psnr(made, wanted), "latent_mean": float(latents.mean()), "latent_deviation": float(latents.std())}


def autoencoder_settings(recipe: Recipe) -> dict[str, Any]:
    """What a checkpoint is bound to."""
    config = recipe.autoencoder
    return {
        "size": recipe.data.size, "sets": list(recipe.data.sets), "width": config.width,
        "encoder_blocks": list(config.encoder_blocks), "decoder_blocks": list(config.decoder_blocks),
        "latent_channels": config.latent_channels, "seed": recipe.seed,
    }  # fmt: skip


def load_autoencoder(recipe: Recipe, folder: Path) -> Any:
    """The trained autoencoder (averaged weights), in eval mode on the CPU. Raises `RecipeError` when there is none."""
    state = load_checkpoint(folder / "autoencoder.pt", autoencoder_settings(recipe))
    if state is None:
        raise RecipeError("There is no trained autoencoder yet.", "Run `python -m training autoencoder` first.")
    model = build_autoencoder(recipe.autoencoder)
    model.load_state_dict(state["model"])
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter, value in zip(parameters, state["ema"]["shadow"], strict=True):
        parameter.data.copy_(value)
    return model.eval()
