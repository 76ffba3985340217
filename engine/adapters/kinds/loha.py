"""LoHa: ΔW = alpha/rank · (w1_a·w1_b) ∘ (w2_a·w2_b), each half with a Tucker core (t1, t2) for convolutions.

Maths: Hyeon-Woo et al. 2021 (FedPara), https://arxiv.org/abs/2108.06098; tensors as in LyCORIS.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.adapters.kinds.base import Holder, Patch
from engine.adapters.kinds.operation import operate
from engine.adapters.kinds.parts import Misfit, Parts, agree, expect, flat, matrix, times
from engine.adapters.modules import TargetModule
from engine.adapters.patch import ModulePatch

NAMES = frozenset({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"})


@dataclass(frozen=True)
class Half(Holder):
    """One factor of the product: a (out, r) · b (r, in·kernel); with a core (r, r, *kernel): a (r, out), b (r, in)."""

    a: Tensor
    b: Tensor
    core: Tensor | None

    def shape(self) -> tuple[int, ...]:
        """Of the weight; the kernel may be flattened into the second number."""
        if self.core is None:
            return self.a.shape[0], *self.b.shape[1:]
        return self.a.shape[1], self.b.shape[1], *self.core.shape[2:]

    def delta(self, weight: Tensor, scale: float) -> Tensor:
        a, b = matrix(self.a.to(weight.device)), matrix(self.b.to(weight.device))
        if self.core is None:
            return (a * scale @ b).reshape(weight.shape)
        core = self.core.to(weight.device).float()
        thin = torch.einsum("i j ..., j n -> i n ...", core, b).reshape(core.shape[0], -1)
        return (a.T * scale @ thin).reshape(weight.shape)


@dataclass(frozen=True)
class LoHa(Patch):
    """The product of two halves, element by element; `factor` is alpha / rank."""

    first: Half
    second: Half
    factor: float
    kind: str = "LoHa"

    def delta(self, weight: Tensor, scale: float) -> Tensor:
        return self.first.delta(weight, self.factor * scale) * self.second.delta(weight, 1.0)

    def bypass(self, x: Tensor, module: nn.Module, base_out: Tensor, scale: float) -> Tensor | None:
        # The product has no thin form: its weight is made at each call, as LyCORIS does.
        kernel = tuple(getattr(module, "kernel_size", ()))
        rows, columns = flat(self.first.shape())
        shape = torch.empty(rows, columns // math.prod(kernel), *kernel, device=x.device)
        out = operate(module, x, self.delta(shape, scale))
        return None if out is None else out.to(base_out.dtype)


def detect(names: Collection[str]) -> bool:
    return "hada_w1_a" in names or "hada_w2_a" in names


def read(parts: Parts, target: TargetModule) -> ModulePatch:
    if target.kind not in ("linear", "conv"):
        raise Misfit(f"the model has a {target.kind} layer there")
    halves = [_half(parts, side) for side in ("1", "2")]
    for half in halves:
        expect(half.shape(), target)
    return LoHa(halves[0], halves[1], parts.scale(halves[0].b.shape[0]))


def _half(parts: Parts, side: str) -> Half:
    a, b, core = parts.get(f"hada_w{side}_a"), parts.get(f"hada_w{side}_b"), parts.tensors.get(f"hada_t{side}")
    said = f"w{side}_a is {times(a.shape)}, w{side}_b is {times(b.shape)}"
    agree(a.dim() >= 2 and b.dim() >= 2 and b.shape[0] > 0, f"{said}, which are no matrices")
    if core is None:
        agree(a.numel() == a.shape[0] * b.shape[0], f"the ranks differ: {said}")
    else:
        agree(core.dim() > 2 and core.shape[:2] == (a.shape[0], b.shape[0]), f"the ranks differ: {said}")
        agree(a.dim() == 2 and b.dim() == 2, f"{said}, beside a core")
    return Half(a, b, core)
