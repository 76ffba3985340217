"""A picture two or four times as large, tile by tile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from engine.errors import GenerationError, SpecError
from engine.upscale.network import UpscaleNet

FACTORS = (2, 4)
LARGEST = 16384
"""Px: the longest side that comes out."""
TILE = 256
"""Px of the input that are worked on at once: about 200 MB of memory with 64 channels in float32."""


@dataclass(frozen=True)
class _Tile:
    """`seen`: what the network gets, [top, bottom) × [left, right); `kept`: what of it counts."""

    kept: tuple[int, int, int, int]
    seen: tuple[int, int, int, int]


def upscale(
    image: Image.Image,
    factor: int,
    net: UpscaleNet,
    *,
    tile: int = TILE,
    on_progress: Callable[[float], None] | None = None,
) -> Image.Image:
    """Enlarge by `factor` 2 or 4 with `net`, on the device and in the precision that the net has.

    What the net enlarges further is brought down by averaging; what it enlarges less goes through it again. The
    alpha channel, where there is one, is enlarged smoothly beside it. The result does not depend on `tile`.

    Args:
        tile: px of the input worked on at once, at least 32.
        on_progress: hears 0.0–1.0 before each tile; an exception out of it ends the work.

    Raises:
        SpecError: `bad_request` for another factor, `size_out_of_range` for a result over 16384 px.
        GenerationError: `picture_not_finite` where the numbers overflow even in float32.
    """
    if factor not in FACTORS:
        raise SpecError("bad_request", f"The enlargement must be 2 or 4, not {factor}.")
    if max(image.size) * factor > LARGEST:
        raise SpecError(
            "size_out_of_range",
            f"{image.width} × {image.height} px enlarged {factor} times is more than {LARGEST} px.",
            "Take 2 times, or a smaller picture.",
        )
    size = (image.width * factor, image.height * factor)
    pixels = torch.from_numpy(np.asarray(image.convert("RGB"), dtype=np.uint8).copy())
    pixels = pixels.permute(2, 0, 1).float().div_(255)
    while pixels.shape[2] < size[0]:
        pixels = _enlarge(pixels, net, max(32, tile), on_progress)
    if pixels.shape[2] != size[0]:
        pixels = _average(pixels, size)
    with torch.inference_mode():
        # In place: the picture as numbers is the largest thing here.
        numbers = pixels.mul_(255).add_(0.5).byte()
    made = Image.fromarray(numbers.permute(1, 2, 0).numpy(), "RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        made.putalpha(image.convert("RGBA").getchannel("A").resize(size, Image.Resampling.BICUBIC))
    return made


@torch.inference_mode()
def _enlarge(
    pixels: torch.Tensor, net: UpscaleNet, tile: int, on_progress: Callable[[float], None] | None
) -> torch.Tensor:
    """(3, H, W) in 0–1 → (3, scale·H, scale·W) in 0–1, float32 on the CPU."""
    weight = next(net.parameters())
    _, height, width = pixels.shape
    scale = net.scale
    made = torch.empty(3, height * scale, width * scale)
    tiles = list(_tiles(height, width, tile, net.reach))
    for number, one in enumerate(tiles):
        if on_progress is not None:
            on_progress(number / len(tiles))
        top, bottom, left, right = one.seen
        part = net(pixels[None, :, top:bottom, left:right].to(weight.device, weight.dtype))[0].float().cpu()
        if not bool(torch.isfinite(part).all()):
            part = _again_in_float32(pixels[None, :, top:bottom, left:right], net)
        first, last, start, stop = one.kept
        made[:, first * scale : last * scale, start * scale : stop * scale] = part[
            :, (first - top) * scale : (last - top) * scale, (start - left) * scale : (stop - left) * scale
        ]
    return made.clamp_(0, 1)


def _again_in_float32(pixels: torch.Tensor, net: UpscaleNet) -> torch.Tensor:
    weight = next(net.parameters())
    dtype = weight.dtype
    try:
        part = net.float()(pixels.to(weight.device, torch.float32))[0].cpu()
    finally:
        net.to(dtype)
    if not bool(torch.isfinite(part).all()):
        raise GenerationError(
            "picture_not_finite", "Enlarging the picture gave numbers that are none.", "Take another upscaler file."
        )
    return part


def _tiles(height: int, width: int, tile: int, reach: int) -> Iterator[_Tile]:
    """Tiles of at most `tile` px that cover the picture, each seen with `reach` px more around it."""
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            bottom, right = min(height, top + tile), min(width, left + tile)
            seen = (max(0, top - reach), min(height, bottom + reach), max(0, left - reach), min(width, right + reach))
            yield _Tile((top, bottom, left, right), seen)


def _average(pixels: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(3, H, W) brought down to `size` (width, height)."""
    return torch.nn.functional.interpolate(pixels[None], (size[1], size[0]), mode="area")[0]
