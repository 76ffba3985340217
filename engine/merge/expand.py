"""What a kind's patch is as a sum of thin products: LoRA as it is, LoHa and LoKr without loss.

- LoHa: (A₁B₁)∘(A₂B₂) has as up the row-wise Khatri-Rao product of A₁ and A₂, as down the column-wise one of B₁ and B₂:
  rank r becomes r².
- LoKr: (P·Q) ⊗ (A·B) = (P ⊗ A)(Q ⊗ B): the rank is the product of the factors' ranks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.adapters.kinds.bias import BiasOnly, WithBias
from engine.adapters.kinds.full import Full
from engine.adapters.kinds.loha import Half, LoHa
from engine.adapters.kinds.lokr import Factor, LoKr
from engine.adapters.kinds.norm import Norm
from engine.adapters.kinds.parts import matrix
from engine.adapters.modules import TargetModule
from engine.adapters.patch import LowRank, ModulePatch
from engine.merge.delta import Delta


def delta_of(patch: ModulePatch, target: TargetModule) -> Delta:
    """The patch at scale 1 as a change. Only for kinds that need no base (`patch.needs_base` is False)."""
    inner = patch.patch if isinstance(patch, WithBias) else patch
    bias = patch.bias_delta(1.0)
    norm = target.kind == "norm"
    if isinstance(inner, BiasOnly):
        return Delta(target.shape, bias=bias, norm_layer=norm)
    if isinstance(inner, Norm | Full):
        whole = inner.weight if isinstance(inner, Norm) else inner.diff
        return Delta(target.shape, dense=whole.float().reshape(target.shape[0], -1), bias=bias, norm_layer=norm)
    own = inner.low_rank()
    thin = own if own is not None else thin_of(inner)
    full = min(target.shape[0], _columns(target))
    if thin is not None and thin[0].shape[1] < full:
        return Delta(target.shape, thin=thin, bias=bias, expanded=own is None)
    dense = inner.delta(torch.empty(target.shape), 1.0).reshape(target.shape[0], -1)
    return Delta(target.shape, dense=dense, bias=bias, expanded=True)


def thin_of(patch: ModulePatch) -> LowRank | None:
    """LoHa and LoKr as a product of two thin matrices, float32; None for other kinds."""
    if isinstance(patch, LoHa):
        (a1, b1), (a2, b2) = _half(patch.first), _half(patch.second)
        up = torch.einsum("mi,mj->mij", a1, a2).flatten(1) * patch.factor
        return up, torch.einsum("in,jn->ijn", b1, b2).flatten(0, 1)
    if isinstance(patch, LoKr):
        (left, right), (a, b) = _factor(patch.first), _factor(patch.second)
        return torch.kron(left, a.contiguous()) * patch.factor, torch.kron(right, b.contiguous())
    return None


def _half(half: Half) -> LowRank:
    if half.core is None:
        return matrix(half.a), matrix(half.b)
    # The core goes to the input side: its rows stay the rank.
    core = half.core.float()
    thin = torch.einsum("i j ..., j n -> i n ...", core, matrix(half.b)).reshape(core.shape[0], -1)
    return matrix(half.a).T, thin


def _factor(factor: Factor) -> LowRank:
    """A factor as a product; a whole one times the identity on its shorter side."""
    whole = factor.matrix(torch.device("cpu")) if factor.product is None else None
    if whole is not None:
        rows, columns = whole.shape
        return (torch.eye(rows), whole) if rows <= columns else (whole, torch.eye(columns))
    assert factor.product is not None
    a, b = factor.product
    if factor.core is None:
        return _narrow(matrix(a), matrix(b))
    core = factor.core.float()
    thin = torch.einsum("i j ..., j n -> i n ...", core, matrix(b)).reshape(core.shape[0], -1)
    return _narrow(matrix(a).T, thin)


def _narrow(a: Tensor, b: Tensor) -> LowRank:
    """The product's own rank may be above what its shape allows: then it is taken as a whole."""
    rows, columns = a.shape[0], b.shape[1]
    if a.shape[1] <= min(rows, columns):
        return a, b
    whole = a @ b
    return (torch.eye(rows), whole) if rows <= columns else (whole, torch.eye(columns))


def _columns(target: TargetModule) -> int:
    count = 1
    for side in target.shape[1:]:
        count *= side
    return count
