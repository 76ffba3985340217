"""T2I-Adapter files told by their headers: which shape of network they hold. No weights are read, no torch."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Shapes = Mapping[str, tuple[int, ...]]
AdapterShape = Literal["full_adapter", "full_adapter_xl", "light_adapter"]
# A picture's pixels per feature of the adapters for SDXL; those for SD 1.x have 8.
XL_SCALE = 16
# The original files name every block alike; diffusers counts those of a size together.
BLOCKS_A_SIZE = 2
_MARKS = ("adapter.body.", "body.0.block1.", "body.0.in_conv.")
_FULL = re.compile(r"body\.(\d+)\.block1\.weight")
_LIGHT = re.compile(r"body\.(\d+)\.body\.(\d+)\.block1\.weight")
_NEW = re.compile(r"adapter\.body\.(\d+)\.resnets\.(\d+)\.block1\.weight")


@dataclass(frozen=True)
class T2iFacts:
    """What a T2I-Adapter's header tells; 0 and () where it does not (pickles do not tell shapes).

    Attributes:
        hint_channels: of the hint that it reads: 3 for colours, 1 for grey.
        channels: of each size of features. blocks: residual blocks for each of them.
        scale: pixels of the hint for a feature of the first size.
        original: names as in the original code.
    """

    shape: AdapterShape = "full_adapter"
    hint_channels: int = 3
    channels: tuple[int, ...] = ()
    blocks: int = BLOCKS_A_SIZE
    scale: int = 8
    original: bool = False

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of every feature that it makes."""
        return (*self.channels, *self.channels[-1:]) if self.shape == "light_adapter" else self.channels

    @property
    def latent_scale(self) -> int:
        """Pixels for a latent's side, of the model that it is for."""
        return self.scale // 2 if self.shape == "full_adapter_xl" else self.scale

    @property
    def family(self) -> str:
        """The published ones are for SD 1.x, or for SDXL."""
        if self.shape == "full_adapter_xl":
            return "sdxl"
        return "sd1" if self.channels[:1] == (320,) else ""

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of diffusers' T2IAdapter."""
        return {
            "in_channels": self.hint_channels, "channels": list(self.channels), "num_res_blocks": self.blocks,
            "downscale_factor": self.scale, "adapter_type": self.shape,
        }  # fmt: skip


def is_t2i_adapter(names: Mapping[str, Any]) -> bool:
    """Whether these are the tensors of a T2I-Adapter."""
    return any(name.startswith(_MARKS) for name in names)


def t2i_facts(shapes: Shapes) -> T2iFacts:
    """What the shapes of its tensors tell. Names are the original ones, or diffusers' own."""
    original = not any(name.startswith("adapter.") for name in shapes)
    prefix = "" if original else "adapter."
    light = f"{prefix}conv_in.weight" not in shapes
    first = shapes.get(f"{prefix}{'body.0.in_conv' if light else 'conv_in'}.weight", ())
    sizes, blocks = _sizes(shapes, original, light)
    widths = tuple(_width(shapes, prefix, number, light, original, blocks) for number in range(sizes))
    if len(first) < 2 or 0 in widths or not widths:
        return T2iFacts("light_adapter" if light else "full_adapter", scale=0, original=original)
    channels, scale = _unshuffled(first[1])
    shape: AdapterShape = "light_adapter" if light else "full_adapter_xl" if scale == XL_SCALE else "full_adapter"
    return T2iFacts(shape, channels, widths[:-1] if light else widths, blocks, scale, original)


def t2i_name(name: str, facts: T2iFacts) -> str:
    """The original place of one of diffusers' weights."""
    place = name.removeprefix("adapter.")
    if facts.shape == "light_adapter":
        return place.replace(".resnets.", ".body.")
    if match := re.fullmatch(r"body\.(\d+)\.(?:resnets\.(\d+)|in_conv)(\..+)", place):
        number = int(match[1]) * facts.blocks + int(match[2] or 0)
        return f"body.{number}{'.in_conv' if match[2] is None else ''}{match[3]}"
    return place


def t2i_facts_of_config(config: Mapping[str, Any]) -> T2iFacts:
    """What a diffusers folder's config tells."""
    kinds: dict[Any, AdapterShape] = {"light_adapter": "light_adapter", "full_adapter_xl": "full_adapter_xl"}
    return T2iFacts(
        kinds.get(config.get("adapter_type"), "full_adapter"),
        int(config.get("in_channels") or 3),
        tuple(int(width) for width in config.get("channels") or ()),
        int(config.get("num_res_blocks") or BLOCKS_A_SIZE),
        int(config.get("downscale_factor") or 8),
    )


def _sizes(shapes: Shapes, original: bool, light: bool) -> tuple[int, int]:
    """How many sizes of features there are, and how many residual blocks each has."""
    pattern = (_LIGHT if light else _FULL) if original else _NEW
    found = [match for name in shapes if (match := pattern.fullmatch(name))]
    if not found:
        return 0, BLOCKS_A_SIZE
    last = 1 + max(int(match[1]) for match in found)
    if not original or light:
        return last, 1 + max(int(match[2]) for match in found)
    widened = [int(match[1]) for name in shapes if (match := re.fullmatch(r"body\.(\d+)\.in_conv\.weight", name))]
    blocks = min(widened, default=BLOCKS_A_SIZE)
    return (last // blocks, blocks) if blocks else (0, BLOCKS_A_SIZE)


def _width(shapes: Shapes, prefix: str, number: int, light: bool, original: bool, blocks: int) -> int:
    if light:
        place = f"{prefix}body.{number}.out_conv.weight"
    elif original:
        place = f"body.{number * blocks}.block1.weight"
    else:
        place = f"{prefix}body.{number}.resnets.0.block1.weight"
    shape = shapes.get(place, ())
    return shape[0] if shape else 0


def _unshuffled(width: int) -> tuple[int, int]:
    """The hint's channels and the side of the squares that become channels: width = channels × side²."""
    for channels in (3, 1):
        side = math.isqrt(width // channels)
        if channels * side * side == width:
            return channels, side
    return width, 1
