"""DoRA over any kind: the changed weight keeps its direction, and each row (or column) gets a learned length.

W₁ = m · (W + ΔW) / ‖W + ΔW‖, and W' = W + scale · (W₁ − W), as LyCORIS's `apply_dora_scale` does with its scale; so 0
changes nothing and 1 is the adapter as trained. Maths: Liu et al. 2024, https://arxiv.org/abs/2402.09353.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from engine.adapters.kinds.base import Patch
from engine.adapters.kinds.parts import Misfit, Parts, times
from engine.adapters.modules import TargetModule
from engine.adapters.patch import ModulePatch


@dataclass(frozen=True)
class Dora(Patch):
    """`magnitude`: the lengths, (out,) one per row or (in,) one per column (`on_input`)."""

    patch: ModulePatch
    magnitude: Tensor
    on_input: bool
    kind: str = "DoRA"
    needs_base: ClassVar[bool] = True

    @property
    def nbytes(self) -> int:
        return self.patch.nbytes + self.magnitude.nbytes

    def delta(self, weight: Tensor, scale: float) -> Tensor:
        base = weight.float()
        moved = base + self.patch.delta(weight, 1.0)
        kept = 1 if self.on_input else 0
        others = tuple(dim for dim in range(moved.dim()) if dim != kept)
        length = torch.linalg.vector_norm(moved, dim=others, keepdim=True) + torch.finfo(torch.float32).eps
        magnitude = self.magnitude.to(weight.device).float().reshape(length.shape)
        return (moved * (magnitude / length) - base) * scale

    def bias_delta(self, scale: float, bias: Tensor | None = None) -> Tensor | None:
        return self.patch.bias_delta(scale, bias)


def decomposed(patch: ModulePatch, parts: Parts, target: TargetModule) -> ModulePatch:
    """The patch under its magnitudes: "dora_scale" of LyCORIS, (out, 1, …) or (1, in, …), or peft's, always per row.

    Raises:
        Misfit: there is not one magnitude per row or column.
    """
    if (per_row := parts.tensors.get("magnitude")) is not None:
        found, on_input = per_row, False
    else:
        found = parts.get("dora_scale")
        on_input = found.dim() > 1 and found.shape[0] == 1 and target.shape[0] != 1
    wanted = target.shape[1] if on_input else target.shape[0]
    if found.numel() != wanted:
        raise Misfit(f"its magnitudes are {times(found.shape)}, the model has {times(target.shape)}")
    return Dora(patch, found.reshape(-1), on_input)
