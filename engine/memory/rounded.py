"""Weights that rest in 8 or 4 bits and are widened while their layer works.

Symmetric rounding to whole numbers with one scale per output channel (8 bits) or per group of 64 weights (4 bits):
w ≈ scale · q, scale = max|w| / (2^(bits−1) − 1). No calibration is needed, because only weights are rounded, never
what flows through. What a layer computes with is made anew at each call and gone after it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

GROUP = 64


class RoundedWeight(nn.Module):
    """A weight tensor at rest. Calling it gives the tensor in the format to compute in.

    Args:
        weight: floating point, any shape; the first axis is the output channels.
        bits: 8 or 4.
    """

    numbers: torch.Tensor
    scale: torch.Tensor

    def __init__(self, weight: torch.Tensor, bits: int) -> None:
        super().__init__()
        if bits not in (4, 8):
            raise ValueError(f"{bits} bits are not offered")
        self.bits = bits
        self.shape = tuple(weight.shape)
        self.compute_dtype = weight.dtype
        numbers, scale = _round(weight.detach().float(), bits)
        self.register_buffer("numbers", numbers, persistent=True)
        self.register_buffer("scale", scale, persistent=True)

    def forward(self) -> torch.Tensor:
        """The weight, shape and format as it was given; within scale/2 of it."""
        flat = _unpacked(self.numbers, self.shape) if self.bits == 4 else self.numbers
        wide = flat.reshape(*self.scale.shape[:-1], -1).to(self.compute_dtype) * self.scale.to(self.compute_dtype)
        return wide.reshape(-1)[: _count(self.shape)].reshape(self.shape)


class RoundedLinear(nn.Module):
    """A linear layer with a rounded weight."""

    def __init__(self, layer: nn.Linear, bits: int) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.rounded = RoundedWeight(layer.weight, bits)
        self.bias = layer.bias

    @property
    def weight(self) -> torch.Tensor:
        """The weight to compute with; a new tensor each time."""
        widened: torch.Tensor = self.rounded()
        return widened

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """As `nn.Linear`."""
        return F.linear(values, self.weight.to(values.dtype), self.bias)


class RoundedConv2d(nn.Module):
    """A convolution with a rounded weight."""

    def __init__(self, layer: nn.Conv2d, bits: int) -> None:
        super().__init__()
        self.in_channels, self.out_channels = layer.in_channels, layer.out_channels
        self.kernel_size = layer.kernel_size
        self._how: tuple[Any, ...] = (layer.stride, layer.padding, layer.dilation, layer.groups)
        self.rounded = RoundedWeight(layer.weight, bits)
        self.bias = layer.bias

    @property
    def weight(self) -> torch.Tensor:
        """The weight to compute with; a new tensor each time."""
        widened: torch.Tensor = self.rounded()
        return widened

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """As `nn.Conv2d` with zero padding."""
        return F.conv2d(values, self.weight.to(values.dtype), self.bias, *self._how)


def round_layers(module: nn.Module, bits: int, *, skip: tuple[str, ...] = ()) -> int:
    """Replace the linear and convolution layers of a module in place; how many were.

    Args:
        skip: layers whose name has one of these in it stay as they are (first and last layers, time embeddings).
    """
    found = [
        (name, layer)
        for name, layer in module.named_modules()
        if _roundable(layer) and not any(part in name for part in skip)
    ]
    for name, layer in found:
        parent_name, _, child = name.rpartition(".")
        parent = module.get_submodule(parent_name) if parent_name else module
        kind = RoundedLinear if isinstance(layer, nn.Linear) else RoundedConv2d
        setattr(parent, child, kind(layer, bits))
    return len(found)


def _roundable(layer: nn.Module) -> bool:
    if type(layer) is nn.Conv2d:
        return layer.padding_mode == "zeros"
    return type(layer).__name__ in ("Linear", "LoRACompatibleLinear") and isinstance(layer, nn.Linear)


def _round(weight: torch.Tensor, bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    largest = 2 ** (bits - 1) - 1
    if bits == 8:
        rows = weight.reshape(weight.shape[0], -1)
    else:
        flat = weight.reshape(-1)
        rows = F.pad(flat, (0, -len(flat) % GROUP)).reshape(-1, GROUP)
    scale = (rows.abs().amax(dim=1, keepdim=True) / largest).clamp(min=torch.finfo(torch.float32).tiny)
    numbers = (rows / scale).round().clamp(-largest, largest).to(torch.int8)
    return (numbers, scale) if bits == 8 else (_packed(numbers), scale)


def _packed(numbers: torch.Tensor) -> torch.Tensor:
    """Two numbers of −7…7 in a byte."""
    pairs = (numbers.reshape(-1, 2) + 8).to(torch.uint8)
    return pairs[:, 0] | (pairs[:, 1] << 4)


def _unpacked(packed: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    pairs = torch.stack((packed & 15, packed >> 4), dim=1)
    return pairs.reshape(-1).to(torch.int8) - 8


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count
