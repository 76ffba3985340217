"""LoKr: ΔW = alpha/rank · w1 ⊗ w2 (Kronecker product), each factor whole or a product of two, w2 also with a core (t2).

Where both factors are whole there is no rank, and alpha is ignored. Tensors as in LyCORIS; maths: Yeh et al. 2023,
https://arxiv.org/abs/2309.14859.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.adapters.kinds.base import Holder, Patch
from engine.adapters.kinds.operation import operate
from engine.adapters.kinds.parts import Misfit, Parts, agree, expect, matrix, times
from engine.adapters.modules import TargetModule
from engine.adapters.patch import ModulePatch

NAMES = frozenset({"lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"})


@dataclass(frozen=True)
class Factor(Holder):
    """A factor: `whole` (rows, columns[, *kernel]), or a (rows, r) · b (r, columns…); with a core, a is (r, rows)."""

    whole: Tensor | None
    product: tuple[Tensor, Tensor] | None
    core: Tensor | None

    def shape(self) -> tuple[int, ...]:
        """Rows, columns, kernel; the kernel may be flattened into the columns."""
        if self.whole is not None:
            return tuple(self.whole.shape)
        assert self.product is not None
        a, b = self.product
        if self.core is not None:
            return a.shape[1], b.shape[1], *self.core.shape[2:]
        return a.shape[0], *b.shape[1:]

    @property
    def nbytes(self) -> int:
        return sum(each.nbytes for each in (self.whole, *(self.product or ()), self.core) if each is not None)

    @property
    def rank(self) -> int:
        """0 where it is whole."""
        return self.product[1].shape[0] if self.product else 0

    def matrix(self, device: torch.device) -> Tensor:
        """float32 (rows, columns·kernel)."""
        if self.whole is not None:
            return matrix(self.whole.to(device))
        assert self.product is not None
        a, b = (matrix(each.to(device)) for each in self.product)
        if self.core is None:
            return a @ b
        core = self.core.to(device).float()
        return a.T @ torch.einsum("i j ..., j n -> i n ...", core, b).reshape(core.shape[0], -1)


@dataclass(frozen=True)
class LoKr(Patch):
    """first (a, b) ⊗ second (c, d, *kernel); `factor` is alpha / rank, 1 where both are whole."""

    first: Factor
    second: Factor
    factor: float
    kind: str = "LoKr"

    def delta(self, weight: Tensor, scale: float) -> Tensor:
        first = self.first.matrix(weight.device) * (self.factor * scale)
        return torch.kron(first, self.second.matrix(weight.device)).reshape(weight.shape)

    def bypass(self, x: Tensor, module: nn.Module, base_out: Tensor, scale: float) -> Tensor | None:
        if getattr(module, "groups", 1) != 1:
            return None
        first = (self.first.matrix(x.device) * (self.factor * scale)).to(x)
        second = self.second.matrix(x.device).to(x)
        columns = first.shape[1]
        if isinstance(module, nn.Linear):
            low = operate(module, x.reshape(*x.shape[:-1], columns, -1), second)
            return None if low is None else torch.einsum("...bc,ab->...ac", low, first).flatten(-2).to(base_out.dtype)
        kernel = tuple(getattr(module, "kernel_size", ()))
        grouped = x.reshape(x.shape[0] * columns, -1, *x.shape[2:])
        low = operate(module, grouped, second.reshape(second.shape[0], -1, *kernel))
        if low is None:
            return None
        low = low.reshape(x.shape[0], columns, *low.shape[1:])
        return torch.einsum("nbc...,ab->nac...", low, first).flatten(1, 2).to(base_out.dtype)


def detect(names: Collection[str]) -> bool:
    return any(name in names for name in ("lokr_w1", "lokr_w1_a", "lokr_w2", "lokr_w2_a"))


def read(parts: Parts, target: TargetModule) -> ModulePatch:
    if target.kind not in ("linear", "conv"):
        raise Misfit(f"the model has a {target.kind} layer there")
    first, second = _factor(parts, "1"), _factor(parts, "2")
    agree(len(first.shape()) == 2 or max(first.shape()[2:]) == 1, f"the first factor is {times(first.shape())}")
    rows, columns = first.shape()[:2]
    inner = second.shape()
    expect((rows * inner[0], columns * inner[1], *inner[2:]), target)
    # As LyCORIS: one rank for both factors; alpha counts only where one of them is decomposed.
    rank = first.rank or second.rank
    return LoKr(first, second, parts.scale(rank) if rank else 1.0)


def _factor(parts: Parts, side: str) -> Factor:
    whole = parts.tensors.get(f"lokr_w{side}")
    if whole is not None:
        agree(whole.dim() >= 2, f"w{side} is {times(whole.shape)}, which is no matrix")
        return Factor(whole, None, None)
    a, b = parts.get(f"lokr_w{side}_a"), parts.get(f"lokr_w{side}_b")
    core = parts.tensors.get("lokr_t2") if side == "2" else None
    said = f"w{side}_a is {times(a.shape)}, w{side}_b is {times(b.shape)}"
    agree(a.dim() >= 2 and b.dim() >= 2 and b.shape[0] > 0, f"{said}, which are no matrices")
    if core is None:
        agree(a.numel() == a.shape[0] * b.shape[0], f"the ranks differ: {said}")
    else:
        agree(core.dim() > 2 and core.shape[:2] == (a.shape[0], b.shape[0]), f"the ranks differ: {said}")
    return Factor(None, (a, b), core)
