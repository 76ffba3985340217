"""Norm: differences of a normalisation layer's weight ("w_norm") and bias ("b_norm")."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor

from engine.adapters.kinds.base import Patch
from engine.adapters.kinds.parts import Misfit, Parts, times
from engine.adapters.modules import TargetModule
from engine.adapters.patch import ModulePatch

NAMES = frozenset({"w_norm", "b_norm"})


@dataclass(frozen=True)
class Norm(Patch):
    """`weight` (channels,), `bias` (channels,) or None."""

    weight: Tensor
    bias: Tensor | None
    kind: str = "Norm"

    def delta(self, weight: Tensor, scale: float) -> Tensor:
        return (self.weight.to(weight.device).float() * scale).reshape(weight.shape)

    def bias_delta(self, scale: float, bias: Tensor | None = None) -> Tensor | None:
        return None if self.bias is None else self.bias.float() * scale


def detect(names: Collection[str]) -> bool:
    return "w_norm" in names or "b_norm" in names


def read(parts: Parts, target: TargetModule) -> ModulePatch:
    weight, bias = parts.get("w_norm"), parts.tensors.get("b_norm")
    if target.kind != "norm":
        raise Misfit(f"made for a normalisation layer, the model has a {target.kind} layer there")
    for tensor in (weight, bias):
        if tensor is not None and tensor.numel() != target.shape[0]:
            raise Misfit(f"made for {times(tensor.shape)}, the model has {times(target.shape)}")
    return Norm(weight.reshape(-1), None if bias is None else bias.reshape(-1))
