"""Full: ΔW stored as it is ("diff"), for layers of every sort."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor, nn

from engine.adapters.kinds.base import Patch
from engine.adapters.kinds.operation import operate
from engine.adapters.kinds.parts import Misfit, Parts, expect, times
from engine.adapters.modules import TargetModule
from engine.adapters.patch import ModulePatch

NAMES = frozenset({"diff"})


@dataclass(frozen=True)
class Full(Patch):
    """`diff`: the shape of the weight, up to 1×1 kernels."""

    diff: Tensor
    kind: str = "Full"

    def delta(self, weight: Tensor, scale: float) -> Tensor:
        return (self.diff.to(weight.device).float() * scale).reshape(weight.shape)

    def bypass(self, x: Tensor, module: nn.Module, base_out: Tensor, scale: float) -> Tensor | None:
        kernel = tuple(getattr(module, "kernel_size", ()))
        out = operate(module, x, (self.diff.float() * scale).reshape(self.diff.shape[0], -1, *kernel))
        return None if out is None else out.to(base_out.dtype)


def detect(names: Collection[str]) -> bool:
    return "diff" in names


def read(parts: Parts, target: TargetModule) -> ModulePatch:
    diff = parts.get("diff")
    if diff.dim() == 0:
        raise Misfit(f"made for a number, the model has {times(target.shape)}")
    expect(tuple(diff.shape), target)
    return Full(diff)
