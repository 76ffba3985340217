"""The compact network of Real-ESRGAN (SRVGGNetCompact, arxiv.org/abs/2107.10833), built to fit a weight file.

A row of 3×3 convolutions with a learnt slope between each two, a pixel shuffle, and the enlarged input added.
realesr-animevideov3, realesr-general-x4v3 and their like differ in width, depth and scale only, which the shapes tell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from engine.errors import ModelFileError
from engine.library.headers import read_header

_NAME = re.compile(r"^body\.(\d+)\.(weight|bias)$")


class UpscaleNet(nn.Module):
    """RGB (B, 3, H, W) in 0–1 → (B, 3, scale·H, scale·W), about 0–1.

    Attributes:
        scale: 2, 3 or 4.
        reach: how many px around a pixel have a say in it; tiles that overlap by as much have no seams.
    """

    def __init__(self, width: int, middle: int, scale: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1), nn.PReLU(width)]
        for _ in range(middle):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.PReLU(width)]
        layers.append(nn.Conv2d(width, 3 * scale**2, 3, padding=1))
        self.body = nn.Sequential(*layers)
        self.scale = scale
        self.reach = middle + 2

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        detail = F.pixel_shuffle(self.body(pictures), self.scale)
        return detail + F.interpolate(pictures, scale_factor=self.scale, mode="nearest")


def load_upscaler(path: Path, dtype: torch.dtype = torch.float32) -> UpscaleNet:
    """The network of a safetensors file, in eval mode on the CPU.

    Raises:
        ModelFileError: the file is missing, damaged, or holds another network.
    """
    read_header(path)
    try:
        return build_upscaler(load_file(path), path.name).to(dtype)
    except (OSError, SafetensorError) as error:
        raise ModelFileError("model_file_truncated", f"{path.name} cannot be read: {error}.") from error


def build_upscaler(tensors: Mapping[str, torch.Tensor], name: str) -> UpscaleNet:
    """The network that `tensors` fit; `name` is what errors call them.

    Raises:
        ModelFileError: `model_file_unsupported` where they fit none.
    """
    layers = {int(match[1]) for key in tensors if (match := _NAME.match(key))}
    first, last = tensors.get("body.0.weight"), tensors.get(f"body.{max(layers, default=0)}.weight")
    if first is None or last is None or first.ndim != 4 or last.ndim != 4 or len(tensors) < 6:
        raise _unsupported(name)
    scale = round((last.shape[0] / 3) ** 0.5)
    if 3 * scale**2 != last.shape[0] or scale not in (2, 3, 4) or first.shape[1] != 3:
        raise _unsupported(name)
    net = UpscaleNet(first.shape[0], max(layers) // 2 - 1, scale)
    try:
        net.load_state_dict({key: value.float() for key, value in tensors.items()})
    except RuntimeError as error:
        raise _unsupported(name) from error
    return net.requires_grad_(False).eval()


def _unsupported(name: str) -> ModelFileError:
    return ModelFileError(
        "model_file_unsupported",
        f"{name} is an upscaler of a kind that Easel cannot use.",
        "The compact Real-ESRGAN networks work, such as realesr-animevideov3.",
    )
