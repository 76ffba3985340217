"""What a network holds beside its weights while it works, from its config alone: no torch, no weights.

The networks are walked as diffusers runs them, adding up what is alive at the widest moment of each block. Activations
grow with cells and rows exactly, so one number a network is enough: bytes = units × cells × rows × bytes a number.
`tests/engine/memory/test_activations.py` holds the numbers against a run on the meta device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Alive at the widest moment of a transformer block, in tensors of its width: the gated feed-forward makes 8 + 4 + 4,
# beside its input, its normed input, the attention's output and two residuals.
_TRANSFORMER = 21.0
# A residual block: its input as residual, normed, and after the activation.
_RESNET = 3.0
_TOKENS = 77
# Enlarging: the side of a tile in px, what is seen around it on either side, the numbers that the widest layer of the
# compact Real-ESRGAN networks holds for each of its pixels (64 channels, before and after, and in the kernel's own
# layout), and by how much such a network enlarges.
_ENLARGE_TILE, _ENLARGE_REACH, _ENLARGE_UNITS, _ENLARGE_SCALE = 256, 18, 256.0, 4
DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "float8_e4m3fn": 1, "int8": 1, "int4": 0.5}


@dataclass(frozen=True)
class UnetShape:
    """What a UNet holds for each latent cell of each row, counted in numbers.

    units: at its peak, with an attention kernel that keeps no score matrices.
    skips: of them, what goes from its left half to its right one; a ControlNet's answer has this size.
    score_cells: (heads, share of the cells) of its finest attention; a score matrix has heads × (share × cells)².
    """

    units: float
    skips: float
    score_cells: tuple[int, float] = (0, 0.0)


def unet_shape(config: Mapping[str, Any]) -> UnetShape:
    """The shape of a UNet2DConditionModel (or of a ControlNet, which is its left half) from its config."""
    channels = [int(width) for width in config["block_out_channels"]]
    layers = int(config.get("layers_per_block") or 2)
    down = [_attends(name) for name in config.get("down_block_types", ())]
    up = [_attends(name) for name in config.get("up_block_types", ())]
    skips: list[list[float]] = [[float(channels[0])]]
    peak, alive = 0.0, float(channels[0])
    for level, width in enumerate(channels):
        share = 0.25**level
        before = channels[max(0, level - 1)]
        own: list[float] = []
        for layer in range(layers):
            peak = max(peak, alive + share * _layer(before if layer == 0 else width, width, _at(down, level)))
            own.append(width * share)
            alive += own[-1]
        skips.append(own)
        if level < len(channels) - 1:
            skips[-1].append(width * share / 4)
            alive += skips[-1][-1]
    share = 0.25 ** (len(channels) - 1)
    peak = max(peak, alive + share * _layer(channels[-1], channels[-1], config.get("mid_block_type") != "none"))
    total, flat = alive, [size for block in skips for size in block]
    coming = channels[-1] * share
    for index, level in enumerate(reversed(range(len(channels)))):
        share, width = 0.25**level, channels[level]
        # A block's skips are held until all of it is done.
        held = sum(flat)
        own = [flat.pop() for _ in range(layers + 1)]
        previous = coming / share
        for skip in own:
            peak = max(peak, held + coming + share * _layer(previous + skip / share, width, _at(up, index)))
            previous = float(width)
        coming = width * share * (4 if level else 1)
    return UnetShape(peak, total, _finest(config, down, len(channels)))


def vae_units(config: Mapping[str, Any]) -> float:
    """Numbers that a VAE's decoder holds for each pixel of each picture."""
    channels = [int(width) for width in config["block_out_channels"]]
    peak, before = 0.0, channels[-1]
    for level in reversed(range(len(channels))):
        share, width = 0.25**level, channels[level]
        peak = max(peak, share * _RESNET * max(before, width))
        if level:
            # Doubling: the small picture, the doubled one, and what the convolution makes of it.
            peak = max(peak, share * (width + 8 * width))
        before = width
    return peak


def text_units(config: Mapping[str, Any]) -> float:
    """Numbers that a CLIP text encoder holds for a prompt of 77 tokens."""
    width, inner = int(config.get("hidden_size", 768)), int(config.get("intermediate_size", 3072))
    layers = int(config.get("num_hidden_layers", 12))
    # Every layer's output is kept for clip skip.
    return _TOKENS * (width * (layers + 6) + 3.0 * inner)


def enlarge_bytes(width: int, height: int, factor: int) -> float:
    """Bytes that making a picture of that size (px) `factor` times as large holds, tile by tile, in float32."""
    wide = 4.0
    tile = _seen(width) * _seen(height)
    pixels = 3.0 * width * height
    # The network makes four times the sides of it, which is brought down where less is asked; then come the bytes, in
    # the file's order, and as a picture.
    whole, asked = pixels * _ENLARGE_SCALE**2, pixels * factor**2
    ending = 3 * asked + (wide * asked if factor != _ENLARGE_SCALE else 0.0)
    return wide * whole + max(wide * _ENLARGE_UNITS * tile, ending)


def _seen(side: int) -> int:
    """What the largest tile sees of a side: of two tiles each has a neighbour, of three the middle one has two."""
    neighbours = min(2, (side - 1) // _ENLARGE_TILE)
    return min(side, _ENLARGE_TILE + neighbours * _ENLARGE_REACH)


def dtype_bytes(dtype: str) -> float:
    """Bytes a number in a format of that name takes; an unknown one counts as 16 bits."""
    return DTYPE_BYTES.get(dtype, 2)


def _layer(incoming: float, width: float, attends: bool) -> float:
    resnet = max(_RESNET * incoming, 2 * incoming + width, incoming + _RESNET * width)
    return max(resnet, _TRANSFORMER * width) if attends else resnet


def _attends(block: Any) -> bool:
    return "Attn" in str(block)


def _at(flags: Sequence[bool], index: int) -> bool:
    return index < len(flags) and flags[index]


def _finest(config: Mapping[str, Any], down: Sequence[bool], levels: int) -> tuple[int, float]:
    level = next((index for index, attends in enumerate(down) if attends), None)
    if level is None:
        return (0, 0.0)
    heads = config.get("num_attention_heads") or config.get("attention_head_dim") or 8
    count = heads[min(level, len(heads) - 1)] if isinstance(heads, list | tuple) else heads
    return (int(count), 0.25**level)
