"""LoRA and LoCon: ΔW = alpha/rank · up·down, for convolutions also with a Tucker core between the two.

Maths: Hu et al. 2021, https://arxiv.org/abs/2106.09685; the convolution as in LyCORIS (LoCon).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.adapters.kinds.base import Patch
from engine.adapters.kinds.operation import on_channels, operate, pointwise
from engine.adapters.kinds.parts import Misfit, Parts, agree, expect, matrix, times
from engine.adapters.modules import TargetModule
from engine.adapters.patch import LowRank, ModulePatch

NAMES = frozenset({"lora_up.weight", "lora_down.weight", "lora_mid.weight", "lora_up.bias"})


@dataclass(frozen=True)
class Lora(Patch):
    """up (out, r[, 1, 1]) · mid (r, r, *kernel) or None · down (r, in[, *kernel]); `factor` is alpha / rank.

    `bias` (out,): peft's `lora_bias`, scaled by the factor too.
    """

    up: Tensor
    down: Tensor
    mid: Tensor | None
    bias: Tensor | None
    factor: float
    kind: str = "LoRA"

    def delta(self, weight: Tensor, scale: float) -> Tensor:
        up, down = self._thin(weight.device)
        return (up * scale @ down).reshape(weight.shape)

    def bias_delta(self, scale: float, bias: Tensor | None = None) -> Tensor | None:
        return None if self.bias is None else self.bias.float() * (self.factor * scale)

    def low_rank(self) -> LowRank:
        return self._thin(self.up.device)

    def bypass(self, x: Tensor, module: nn.Module, base_out: Tensor, scale: float) -> Tensor | None:
        if getattr(module, "groups", 1) != 1:
            return None
        up, down = matrix(self.up), self.down
        if isinstance(module, nn.Linear):
            out = F.linear(F.linear(x, matrix(down).to(x)), up.to(x) * (self.factor * scale))
        elif self.mid is not None:
            core = operate(module, pointwise(x, matrix(down)), self.mid)
            if core is None:
                return None
            out = pointwise(core, up * (self.factor * scale))
        else:
            kernel = tuple(getattr(module, "kernel_size", ()))
            low = operate(module, x, down.reshape(down.shape[0], -1, *kernel))
            if low is None:
                return None
            out = pointwise(low, up * (self.factor * scale))
        bias = self.bias_delta(scale)
        return (out if bias is None else out + on_channels(module, bias, out)).to(base_out.dtype)

    def _thin(self, device: torch.device) -> LowRank:
        up, down = matrix(self.up.to(device)), self.down.to(device)
        if self.factor != 1.0:
            up = up * self.factor
        if self.mid is None:
            return up, matrix(down)
        # (r, r, kernel) · (r, in) → (r, in, kernel): the core goes to the thin side, the product stays of rank r.
        core = self.mid.to(device).float()
        return up, torch.einsum("i j ..., j n -> i n ...", core, matrix(down)).reshape(core.shape[0], -1)


def detect(names: Collection[str]) -> bool:
    return "lora_up.weight" in names or "lora_down.weight" in names


def read(parts: Parts, target: TargetModule) -> ModulePatch:
    up, down, mid = parts.get("lora_up.weight"), parts.get("lora_down.weight"), parts.tensors.get("lora_mid.weight")
    agree(up.dim() >= 2 and down.dim() >= 2, "up and down are no matrices")
    if target.kind not in ("linear", "conv"):
        raise Misfit(f"the model has a {target.kind} layer there")
    rank = down.shape[0]
    agree(rank > 0, "its rank is 0")
    said = f"up is {times(up.shape)}, down is {times(down.shape)}"
    if mid is None:
        agree(up.shape[1] == rank and up.numel() == up.shape[0] * rank, f"the ranks differ: {said}")
        expect((up.shape[0], *down.shape[1:]), target)
    else:
        agree(
            mid.dim() > 2 and mid.shape[:2] == (up.shape[1], rank), f"the ranks differ: {said}, mid {times(mid.shape)}"
        )
        agree(down.numel() == rank * down.shape[1], "down has a kernel beside the core")
        expect((up.shape[0], down.shape[1], *mid.shape[2:]), target)
    bias = parts.tensors.get("lora_up.bias")
    agree(bias is None or bias.shape == up.shape[:1], "the bias has another length than up")
    conv = mid is not None or (target.kind == "conv" and max(target.shape[2:]) > 1)
    return Lora(up, down, mid, bias, parts.scale(rank), "LoCon" if conv else "LoRA")
