"""Draw pictures from parts in memory, for looks during training. The exported model uses plain diffusers instead."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

from training.noise import build_scheduler


@torch.no_grad()
def sample(
    unet: Any,
    text: Any,
    autoencoder: Any,
    ids: torch.Tensor,
    empty: torch.Tensor,
    *,
    steps: int,
    guidance: float,
    seed: int,
) -> np.ndarray:
    """(B, H, W, 3) uint8 for token rows `ids` (B, 77); `empty` (1, 77) is "". One seed per row, counted up."""
    size, channels, place = unet.config.sample_size, unet.config.in_channels, unet.device
    scheduler = build_scheduler()
    scheduler.set_timesteps(steps, device=place)
    noise = [
        torch.randn(channels, size, size, generator=torch.Generator().manual_seed(seed + row))
        for row in range(len(ids))
    ]
    latents = torch.stack(noise).to(place) * scheduler.init_noise_sigma
    context = text(torch.cat([empty.expand(len(ids), -1), ids]).to(place)).last_hidden_state
    for t in scheduler.timesteps:
        both = scheduler.scale_model_input(torch.cat([latents, latents]), t)
        without, with_words = unet(both, t, context).sample.float().chunk(2)
        latents = scheduler.step(without + guidance * (with_words - without), t, latents).prev_sample
    pictures = autoencoder.to(place).decode(latents).sample.clamp(-1, 1)
    return ((pictures + 1) * 127.5 + 0.5).byte().permute(0, 2, 3, 1).cpu().numpy()


def sheet(pictures: np.ndarray, columns: int, enlarge: int = 2) -> Image.Image:
    """Pictures (N, H, W, 3) in rows of `columns`."""
    count, height, width, _ = pictures.shape
    rows = -(-count // columns)
    canvas = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for number, picture in enumerate(pictures):
        top, left = number // columns * height, number % columns * width
        canvas[top : top + height, left : left + width] = picture
    image = Image.fromarray(canvas)
    return image.resize((image.width * enlarge, image.height * enlarge), Image.Resampling.BICUBIC)
