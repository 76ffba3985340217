"""GLoRA: ΔW = alpha/rank · (W·A + B), both of low rank, B also with a Tucker core (bm).

LyCORIS has written two orientations: today A = a1·a2 and B = b1·b2, in 2023 A = a2·a1 and B = b2·b1; the shapes tell.
Maths: Chavan et al. 2023, https://arxiv.org/abs/2306.07967.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from engine.adapters.kinds.base import Patch
from engine.adapters.kinds.lora import Lora
from engine.adapters.kinds.operation import operate, pointwise
from engine.adapters.kinds.parts import Misfit, Parts, agree, expect, flat, matrix, times
from engine.adapters.modules import TargetModule
from engine.adapters.patch import ModulePatch

NAMES = frozenset({"a1.weight", "a2.weight", "b1.weight", "b2.weight", "bm.weight"})


@dataclass(frozen=True)
class GLora(Patch):
    """A = up (in, r) · down (r, in) on the weight's input axis; `added` is B; `factor` is alpha / rank."""

    up: Tensor
    down: Tensor
    added: Lora
    factor: float
    kind: str = "GLoRA"
    needs_base: ClassVar[bool] = True

    def delta(self, weight: Tensor, scale: float) -> Tensor:
        up, down = matrix(self.up.to(weight.device)) * (self.factor * scale), matrix(self.down.to(weight.device))
        turned = weight.float().movedim(1, -1) @ up @ down
        return turned.movedim(-1, 1) + self.added.delta(weight, scale)

    def bypass(self, x: Tensor, module: nn.Module, base_out: Tensor, scale: float) -> Tensor | None:
        weight, added = getattr(module, "weight", None), self.added.bypass(x, module, base_out, scale)
        if not isinstance(weight, Tensor) or added is None:
            return None
        up, down = matrix(self.up) * (self.factor * scale), matrix(self.down)
        if isinstance(module, nn.Linear):
            moved = F.linear(F.linear(x, down.to(x)), up.to(x))
        else:
            moved = pointwise(pointwise(x, down), up)
        out = operate(module, moved, weight)
        return None if out is None else out.to(base_out.dtype) + added


def detect(names: Collection[str]) -> bool:
    return any(name in names for name in ("a1.weight", "a2.weight", "b1.weight", "b2.weight"))


def read(parts: Parts, target: TargetModule) -> ModulePatch:
    if target.kind not in ("linear", "conv"):
        raise Misfit(f"the model has a {target.kind} layer there")
    found = {name: parts.get(f"{name}.weight") for name in ("a1", "a2", "b1", "b2")}
    a1, a2, b1, b2 = found.values()
    core = parts.tensors.get("bm.weight")
    said = ", ".join(f"{name} is {times(each.shape)}" for name, each in found.items())
    agree(min(each.dim() for each in found.values()) >= 2 and min(a1.shape) > 0, f"no matrices: {said}")
    ways = [way for way in ((a1, a2, b1, b2), (a2, a1, b2, b1)) if _one_rank(*way)]
    agree(bool(ways), f"the ranks differ: {said}")
    # Square matrices of full rank would fit both ways; then it is today's.
    up, down, added_up, added_down = next((way for way in ways if _fits_input(way[0], way[1], target)), ways[0])
    if not _fits_input(up, down, target):
        raise Misfit(f"its A is {times(up.shape)} · {times(down.shape)}, the model has {times(target.shape)}")
    rank = down.shape[0]
    kernel = core.shape[2:] if core is not None else ()
    expect((added_up.shape[0], *added_down.shape[1:], *kernel), target)
    factor = parts.scale(rank)
    return GLora(up, down, Lora(added_up, added_down, core, None, factor), factor)


def _one_rank(up: Tensor, down: Tensor, added_up: Tensor, added_down: Tensor) -> bool:
    return up.shape[1] == down.shape[0] == added_up.shape[1] == added_down.shape[0]


def _fits_input(up: Tensor, down: Tensor, target: TargetModule) -> bool:
    width, rank = target.shape[1], down.shape[0]
    return flat(tuple(up.shape)) == (width, rank) and flat(tuple(down.shape)) == (rank, width)
