"""Patches kept smaller than their file has them, for when memory is short: in 16 bits, or in 8 with scales.

In 8 bits a tensor is a matrix of whole numbers from −127 to 127, with one float32 scale for each index of its shorter
side: for the thin matrices of a LoRA that is one scale for each of its ranks, in both. What 8 bits cannot hold well
(vectors, small tensors, rotations that are stored whole) stays in 16.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from engine.adapters.kinds.parts import Parts
from engine.adapters.modules import TargetModule
from engine.adapters.patch import LowRank, ModulePatch
from engine.adapters.reading import read_patch
from engine.library.adapter_storage import StorageFormat, fits_8_bits

_MOST = 127


@dataclass(frozen=True)
class Packed:
    """One tensor as it is kept: as it is, in 16 bits, or int8 with `scales` (float32) that multiply it."""

    values: Tensor
    scales: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of both."""
        return self.values.nbytes + (0 if self.scales is None else self.scales.nbytes)

    def opened(self) -> Tensor:
        """The tensor, in the shape that it had; float32 where it was kept in 8 bits."""
        return self.values if self.scales is None else self.values.float() * self.scales


@dataclass(frozen=True)
class StoredPatch:
    """A patch of any kind, opened each time it is asked something; see `engine.adapters.patch.ModulePatch`.

    Attributes:
        parts: what the file says beside the tensors; its `tensors` are empty, they are in `packed`.
    """

    kind: str
    needs_base: bool
    parts: Parts
    target: TargetModule
    packed: Mapping[str, Packed]

    @property
    def nbytes(self) -> int:
        return sum(each.nbytes for each in self.packed.values())

    def delta(self, weight: Tensor, scale: float) -> Tensor:
        return self._opened().delta(weight, scale)

    def bias_delta(self, scale: float, bias: Tensor | None = None) -> Tensor | None:
        return self._opened().bias_delta(scale, bias)

    def low_rank(self) -> LowRank | None:
        return self._opened().low_rank()

    def bypass(self, x: Tensor, module: nn.Module, base_out: Tensor, scale: float) -> Tensor | None:
        return self._opened().bypass(x, module, base_out, scale)

    def _opened(self) -> ModulePatch:
        tensors = {name: each.opened() for name, each in self.packed.items()}
        return read_patch(replace(self.parts, tensors=tensors), self.target)


@dataclass(frozen=True)
class Storing:
    """What it did to a patch: bytes before, and the loss (see `Stored.loss`) squared."""

    patch: ModulePatch
    whole_nbytes: int
    loss_squared: float


@dataclass(frozen=True)
class Stored:
    """How an adapter is kept.

    Attributes:
        whole_nbytes: what it would take as its file has it.
        loss: how far what it does to the weights is from what the file says, as a share of it (0.01: one hundredth),
            root mean square over its layers. Errors of the factors of a product are added, as they do in first order.
    """

    format: StorageFormat
    whole_nbytes: int
    loss: float


def keep_small(parts: Parts, target: TargetModule, wanted: StorageFormat) -> Storing:
    """The patch of these tensors in that format; as the file has it where that would save nothing.

    Raises:
        Misfit, Damaged, Incomplete: as `read_patch`.
    """
    patch = read_patch(parts, target)
    packed = {name: _pack(name, tensor, wanted) for name, tensor in parts.tensors.items()}
    small = StoredPatch(patch.kind, patch.needs_base, replace(parts, tensors={}), target, packed)
    whole = sum(tensor.nbytes for tensor in parts.tensors.values())
    if small.nbytes >= whole:
        return Storing(patch, whole, 0.0)
    return Storing(small, whole, sum(_lost(tensor, packed[name]) for name, tensor in parts.tensors.items()))


def _pack(name: str, tensor: Tensor, wanted: StorageFormat) -> Packed:
    if not tensor.is_floating_point() or tensor.element_size() == 1:
        return Packed(tensor)
    if wanted == "int8" and fits_8_bits(name, tuple(tensor.shape)):
        # What is no number stays one, so that the picture that it spoils is refused.
        return _in_8_bits(tensor) if bool(torch.isfinite(tensor).all()) else Packed(tensor)
    if tensor.element_size() == 2:
        return Packed(tensor)
    small = tensor.to(torch.bfloat16 if wanted == "bfloat16" else torch.float16)
    # float16 ends at 65504.
    return Packed(small if bool(torch.isfinite(small).all()) else tensor)


def _in_8_bits(tensor: Tensor) -> Packed:
    values = tensor.float()
    rows = values.shape[0]
    tall = rows > math.prod(values.shape[1:])
    others = (0,) if tall else tuple(range(1, values.dim()))
    largest = values.abs().amax(dim=others, keepdim=True)
    scales = torch.where(largest > 0, largest / _MOST, 1.0)
    return Packed((values / scales).round().to(torch.int8), scales)


def _lost(tensor: Tensor, packed: Packed) -> float:
    """The squared distance as a share of the tensor's own square."""
    if packed.values is tensor:
        return 0.0
    own = tensor.double()
    norm = float(own.square().sum())
    return float((packed.opened().double() - own).square().sum()) / norm if norm else 0.0
