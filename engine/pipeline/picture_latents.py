"""A given picture as latents: what the VAE makes of it, without chance."""

from __future__ import annotations

import torch

from engine.control.preprocessors.base import Pixels
from engine.pipeline.model import ModelBundle


def picture_latents(bundle: ModelBundle, pixels: Pixels) -> torch.Tensor:
    """Scaled latents, float32, shape (1, C, h, w), of uint8 pixels (H, W, 3), on the model's device.

    The mean of the VAE's answer is taken, not a draw from it: the same picture gives the same latents.
    """
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1.0
    # Encoding overflows in float16 as decoding does; it is done once a picture.
    with bundle.vae_in(torch.float32) as vae, torch.inference_mode():
        answer = vae.encode(image.to(bundle.device))
        # A tiny autoencoder gives latents, not a distribution of them.
        found = (answer.latent_dist.mode() if hasattr(answer, "latent_dist") else answer.latents).float()
        mean, std = getattr(vae.config, "latents_mean", None), getattr(vae.config, "latents_std", None)
        if bundle.is_xl and mean is not None and std is not None:
            shape = (1, -1, 1, 1)
            found = (found - found.new_tensor(mean).view(shape)) / found.new_tensor(std).view(shape)
        latents: torch.Tensor = found * vae.config.scaling_factor
    return latents
