"""A cheap look at a picture in progress: a linear map from latents to colours.

For the standard VAEs of SD 1.x and SDXL the map is known; for any other it is fitted once, by least squares, to what
the VAE itself makes of a few small random latents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from engine.pipeline.context import GenerationContext
from engine.pipeline.model import ModelBundle

_FACT = "preview_map"
# At least this many pixels on the longer side, enlarged from the latents.
PREVIEW_SIDE = 256
FIT_SIDE = 8
FIT_SAMPLES = 6
# Colours of the latents of two published VAEs, range −1…1, before adding the last row: SD 1.x after a linear fit that
# was published with the VAE's discussion (discuss.huggingface.co, "decoding latents to RGB without upscaling"), SDXL
# from diffusers' documentation ("explaining the SDXL latent space"), rescaled from 0…255.
_SD1 = ((0.298, 0.207, 0.208), (0.187, 0.286, 0.173), (-0.158, 0.189, 0.264), (-0.184, -0.271, -0.473), (0.0, 0.0, 0.0))
_SDXL = (
    (0.471, 0.471, 0.471),
    (-0.471, -0.039, 0.078),
    (0.196, 0.118, -0.039),
    (-0.549, -0.392, -0.275),
    (0.176, 0.098, 0.020),
)
_STANDARD_BLOCKS = (128, 256, 512, 512)


@dataclass(frozen=True)
class LatentMap:
    """Colours = latents · matrix + offset; matrix (C, 3), offset (3,), float32 on the CPU."""

    matrix: torch.Tensor
    offset: torch.Tensor


def preview(bundle: ModelBundle, context: GenerationContext) -> Image.Image:
    """What the picture will probably be: the newest prediction of the clean latents, in colours."""
    known = bundle.vae_facts.get(_FACT)
    if not isinstance(known, LatentMap):
        known = bundle.vae_facts[_FACT] = latent_map(bundle)
    with torch.inference_mode():
        latents = clean_latents(context)[0].float().cpu()
        colours = torch.einsum("chw,cd->hwd", latents, known.matrix) + known.offset
        pixels = ((colours * 0.5 + 0.5).clamp(0, 1) * 255).nan_to_num().round().byte().numpy()
    image = Image.fromarray(pixels)
    factor = max(1, -(-PREVIEW_SIDE // max(image.size)))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.BILINEAR)


def clean_latents(context: GenerationContext) -> torch.Tensor:
    """The clean latents that the newest prediction implies, shape (1, C, h, w); before any, the noisy ones.

    Every scheduler here shows the UNet `√ᾱ·x₀ + √(1−ᾱ)·ε`, so one formula serves all.
    """
    if context.seen is None or context.finished:
        return context.latents
    shown, prediction, timestep = context.seen
    table = context.scheduler.alphas_cumprod
    alpha = float(table[min(max(round(timestep), 0), len(table) - 1)])
    signal, noise = max(alpha, 1e-6) ** 0.5, (1 - alpha) ** 0.5
    kind = context.scheduler.config.get("prediction_type", "epsilon")
    if kind == "v_prediction":
        return signal * shown - noise * prediction
    if kind == "sample":
        return prediction
    return (shown - noise * prediction) / signal


def latent_map(bundle: ModelBundle) -> LatentMap:
    """The map of the bundle's VAE."""
    config = bundle.vae_config
    blocks = tuple(getattr(config, "block_out_channels", ()))
    kind = type(bundle.parts.shape("vae")).__name__
    if kind == "AutoencoderKL" and blocks == _STANDARD_BLOCKS and config.latent_channels == 4:
        table = torch.tensor(_SDXL if abs(config.scaling_factor - 0.13025) < 1e-4 else _SD1)
        return LatentMap(table[:-1], table[-1])
    return _fitted(bundle.vae, config)


def _fitted(vae: Any, config: Any) -> LatentMap:
    """Least squares between random latents and the colours that the VAE makes of them."""
    latents = _samples(int(config.latent_channels))
    with torch.inference_mode():
        pixels = (
            vae.decode((latents / config.scaling_factor).to(vae.device, vae.dtype), return_dict=False)[0].float().cpu()
        )
        colours = torch.nn.functional.adaptive_avg_pool2d(pixels, (FIT_SIDE, FIT_SIDE)).clamp(-1, 1)
        cells = latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1])
        cells = torch.cat([cells, torch.ones(len(cells), 1)], dim=1)
        wanted = colours.permute(0, 2, 3, 1).reshape(-1, 3).nan_to_num()
        table = torch.linalg.lstsq(cells, wanted).solution
    return LatentMap(table[:-1].clone(), table[-1].clone())


def _samples(channels: int) -> torch.Tensor:
    """Random latents, smooth and rough ones, shape (n, channels, 8, 8): pictures have areas and edges."""
    generator = torch.Generator("cpu").manual_seed(0)
    rough = torch.randn(FIT_SAMPLES, channels, FIT_SIDE, FIT_SIDE, generator=generator)
    coarse = torch.randn(FIT_SAMPLES, channels, 3, 3, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(FIT_SIDE, FIT_SIDE), mode="bilinear", align_corners=True)
    return torch.cat([rough, smooth])
