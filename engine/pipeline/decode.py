"""From finished latents to pictures: one at a time, in as high a precision as it needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from engine.errors import GenerationError
from engine.memory.techniques import tiles_fit
from engine.pipeline.context import GenerationContext
from engine.pipeline.model import ModelBundle
from engine.pipeline.stop import stopping_at
from engine.protocol.notices import Notice

# Latents with more cells than this (1536 × 1536 px at 8 px a cell) are decoded in tiles.
TILE_ABOVE = 192 * 192
_FACT = "decode_dtype"
_HIGHER: dict[torch.dtype, tuple[torch.dtype, ...]] = {
    torch.float16: (torch.bfloat16, torch.float32),
    torch.bfloat16: (torch.float32,),
}


@dataclass(frozen=True)
class DecodedPicture:
    """A picture, and what decoding decided by itself."""

    image: Image.Image
    notices: tuple[Notice, ...] = ()


def decode(
    bundle: ModelBundle,
    contexts: Sequence[GenerationContext],
    *,
    should_stop: Callable[[], bool] | None = None,
    tiled: bool | None = None,
) -> list[DecodedPicture]:
    """Decode finished contexts, each by itself, so that a picture does not depend on its neighbours.

    Args:
        should_stop: asked between the VAE's layers and tiles.
        tiled: decode in overlapping tiles, which needs less memory; None does so for very large pictures.

    Raises:
        Stopped: `should_stop` said so.
        GenerationError: `picture_not_finite` where the numbers overflow even in float32: never a black picture.
    """
    return [_decode_one(bundle, context.latents, should_stop, tiled) for context in contexts]


def _decode_one(
    bundle: ModelBundle, latents: torch.Tensor, should_stop: Callable[[], bool] | None, tiled: bool | None
) -> DecodedPicture:
    if not bool(torch.isfinite(latents).all()):
        raise _not_finite("The picture's latents are no numbers any more.")
    given = _given_dtype(bundle.vae)
    first = bundle.vae_facts.get(_FACT, given)
    for dtype in (first, *_HIGHER.get(first, ())):
        with bundle.vae_in(dtype) as vae, torch.inference_mode():
            points = bundle.vae_stop_points if vae is bundle.vae else (vae.decoder,)
            with stopping_at(points, should_stop):
                pixels = _pixels(vae, _unscaled(latents, vae.config, bundle.is_xl).to(bundle.device, dtype), tiled)
        if bool(torch.isfinite(pixels).all()):
            bundle.vae_facts[_FACT] = dtype
            return DecodedPicture(_image(pixels), () if dtype == given else (_raised(given, dtype),))
    raise _not_finite("The VAE's numbers overflowed even in float32.")


def _given_dtype(vae: Any) -> torch.dtype:
    """The precision to begin with: a float16 VAE that is known to overflow begins in float32, as in diffusers."""
    dtype: torch.dtype = vae.dtype
    return torch.float32 if dtype == torch.float16 and getattr(vae.config, "force_upcast", False) else dtype


def _unscaled(latents: torch.Tensor, config: Any, is_xl: bool) -> torch.Tensor:
    """Latents as the VAE made them. Only SDXL pipelines read the per-channel statistics of a VAE's config."""
    mean, std = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    if is_xl and mean is not None and std is not None:
        shape = (1, -1, 1, 1)
        spread = torch.tensor(std, device=latents.device).view(shape)
        return latents * spread / config.scaling_factor + torch.tensor(mean, device=latents.device).view(shape)
    return latents / config.scaling_factor


def _pixels(vae: Any, latents: torch.Tensor, tiled: bool | None) -> torch.Tensor:
    """Shape (1, 3, H, W), float32, about −1…1."""
    if tiled is None:
        tiled = latents.shape[2] * latents.shape[3] > TILE_ABOVE
    if not tiled or not hasattr(vae, "enable_tiling") or not tiles_fit(vae):
        return vae.decode(latents, return_dict=False)[0].float()
    before = vae.use_tiling
    vae.enable_tiling()
    try:
        return vae.decode(latents, return_dict=False)[0].float()
    finally:
        vae.use_tiling = before


def _image(pixels: torch.Tensor) -> Image.Image:
    values = (pixels[0] * 0.5 + 0.5).clamp(0, 1).permute(1, 2, 0).cpu().numpy()
    return Image.fromarray((values * 255).round().astype("uint8"))


def _raised(given: torch.dtype, used: torch.dtype) -> Notice:
    def name(dtype: torch.dtype) -> str:
        return str(dtype).removeprefix("torch.")

    return Notice(
        code="precision_raised",
        message=f"The VAE's numbers overflowed in {name(given)}; the picture was decoded in {name(used)}.",
    )


def _not_finite(message: str) -> GenerationError:
    return GenerationError(
        "picture_not_finite", message, "Try a lower guidance, another VAE, or float32 under [engine] dtype."
    )
