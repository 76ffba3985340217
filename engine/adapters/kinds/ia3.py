"""(IA)³: rows or columns of the weight are scaled. LyCORIS keeps w and means 1 + w; peft keeps the factor itself.

Maths: Liu et al. 2022, https://arxiv.org/abs/2205.05638. With a slider: W' = W ∘ (1 + scale · w).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from engine.adapters.kinds.base import Patch
from engine.adapters.kinds.operation import on_channels, operate, without_bias
from engine.adapters.kinds.parts import Misfit, Parts, times
from engine.adapters.modules import TargetModule
from engine.adapters.patch import ModulePatch

NAMES = frozenset({"weight", "on_input", "ia3_l"})


@dataclass(frozen=True)
class IA3(Patch):
    """`vector`: (in,) where `on_input`, else (out,). `factors`: it holds 1 + w (peft), and scales the bias too."""

    vector: Tensor
    on_input: bool
    factors: bool
    kind: str = "(IA)³"
    needs_base: ClassVar[bool] = True

    def delta(self, weight: Tensor, scale: float) -> Tensor:
        change = self._change(scale).to(weight.device)
        sides = [1] * weight.dim()
        sides[1 if self.on_input else 0] = -1
        return weight.float() * change.reshape(sides)

    def bias_delta(self, scale: float, bias: Tensor | None = None) -> Tensor | None:
        if not self.factors or self.on_input or bias is None:
            return None
        return bias.float() * self._change(scale).to(bias.device)

    def bypass(self, x: Tensor, module: nn.Module, base_out: Tensor, scale: float) -> Tensor | None:
        change = self._change(scale)
        if not self.on_input:
            out = base_out if self.factors else without_bias(module, base_out)
            return out * on_channels(module, change, out)
        weight = getattr(module, "weight", None)
        if not isinstance(weight, Tensor) or getattr(module, "groups", 1) != 1:
            return None
        changed = operate(module, x * on_channels(module, change, x), weight)
        return None if changed is None else changed.to(base_out.dtype)

    def _change(self, scale: float) -> Tensor:
        vector = self.vector.float()
        return (vector - 1.0 if self.factors else vector) * scale


def detect(names: Collection[str]) -> bool:
    return "on_input" in names or "ia3_l" in names


def read(parts: Parts, target: TargetModule) -> ModulePatch:
    if target.kind not in ("linear", "conv"):
        raise Misfit(f"the model has a {target.kind} layer there")
    factors = "ia3_l" in parts.tensors
    vector = parts.get("ia3_l" if factors else "weight")
    on_input = _peft_side(vector, parts, target) if factors else _flag(vector, parts.get("on_input"), target)
    wanted = target.shape[1] if on_input else target.shape[0]
    if vector.numel() != wanted:
        raise Misfit(f"its vector is {times(vector.shape)}, the model has {times(target.shape)}")
    return IA3(vector.reshape(-1), on_input, factors)


def _flag(vector: Tensor, flag: Tensor, target: TargetModule) -> bool:
    if flag.is_meta:
        return vector.numel() == target.shape[1] != target.shape[0]
    return bool(flag.reshape(-1)[0])


def _peft_side(vector: Tensor, parts: Parts, target: TargetModule) -> bool:
    """A linear layer's vector lies (1, in) or (out, 1); a convolution's does not tell, only its length or a config."""
    if vector.dim() == 2 and max(vector.shape) > 1:
        return vector.shape[0] == 1
    if target.shape[0] != target.shape[1]:
        return vector.numel() == target.shape[1]
    return bool(parts.on_input)
