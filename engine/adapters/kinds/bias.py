"""Bias differences ("diff_b"), beside any kind or alone: b' = b + scale · diff_b."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.adapters.kinds.base import Patch
from engine.adapters.kinds.operation import on_channels
from engine.adapters.kinds.parts import Misfit, times
from engine.adapters.modules import TargetModule
from engine.adapters.patch import LowRank, ModulePatch


@dataclass(frozen=True)
class BiasOnly(Patch):
    """A patch of nothing but the bias; the weight's share is zero."""

    kind: str = "Full"

    def delta(self, weight: Tensor, scale: float) -> Tensor:
        return torch.zeros(weight.shape, device=weight.device)

    def bypass(self, x: Tensor, module: nn.Module, base_out: Tensor, scale: float) -> Tensor | None:
        return torch.zeros_like(base_out)


@dataclass(frozen=True)
class WithBias:
    """A patch of the weight, and `bias` (out,) added to the bias."""

    patch: ModulePatch
    bias: Tensor

    @property
    def kind(self) -> str:
        return self.patch.kind

    @property
    def needs_base(self) -> bool:
        return self.patch.needs_base

    @property
    def nbytes(self) -> int:
        return self.patch.nbytes + self.bias.nbytes

    def delta(self, weight: Tensor, scale: float) -> Tensor:
        return self.patch.delta(weight, scale)

    def bias_delta(self, scale: float, bias: Tensor | None = None) -> Tensor | None:
        inner = self.patch.bias_delta(scale, bias)
        own = self.bias.float() * scale
        return own if inner is None else inner + own.to(inner.device)

    def low_rank(self) -> LowRank | None:
        return self.patch.low_rank()

    def bypass(self, x: Tensor, module: nn.Module, base_out: Tensor, scale: float) -> Tensor | None:
        inner = self.patch.bypass(x, module, base_out, scale)
        return None if inner is None else inner + on_channels(module, self.bias.float() * scale, base_out)


def with_bias(patch: ModulePatch | None, bias: Tensor | None, target: TargetModule) -> ModulePatch:
    """The patch with a bias difference; without one, the patch as it is.

    Raises:
        Misfit: the bias has another length than the module's rows.
    """
    if bias is None:
        assert patch is not None
        return patch
    if bias.numel() != target.shape[0]:
        raise Misfit(f"its bias is {times(bias.shape)}, the model has {target.shape[0]}")
    return WithBias(patch or BiasOnly(), bias.reshape(-1))
