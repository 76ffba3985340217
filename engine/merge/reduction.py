"""Ranks reduced: the best approximation of a change by a thinner one, and how much of it is kept.

A product U·D is truncated exactly through its thin matrices: U = Q₁R₁, Dᵀ = Q₂R₂, and the small R₁R₂ᵀ has the singular
values of the whole. A dense change goes through the eigenvectors of its Gram matrix on the smaller side, in float64.
Eckart and Young 1936: no matrix of rank k is nearer than the one of the k largest singular values.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.adapters.patch import LowRank
from engine.merge.delta import Delta
from engine.protocol.merge import Reduction

# What "auto" keeps of changes whose exact rank passes a third of the layer's smaller side.
AUTO = Reduction(rule="energy", keep=0.999)
AUTO_SHARE = 3


@dataclass(frozen=True)
class Reduced:
    """A thinner change. `values`: the singular values of what came in, the largest first, float64; `energy`: Σ of the
    kept S² over Σ of all."""

    delta: Delta
    values: Tensor
    energy: float


def reduce(delta: Delta, rule: Reduction) -> Reduced:
    """Truncate by the rule. A change of biases or of norms alone is left as it is."""
    if (delta.thin is None and delta.dense is None) or len(delta.shape) < 2:
        return Reduced(delta, torch.zeros(0, dtype=torch.float64), 1.0)
    left, values, right = decomposed(delta)
    rank = chosen_rank(values, rule, is_kernel=is_kernel(delta.shape))
    total = float(values.square().sum())
    energy = float(values[:rank].square().sum()) / total if total > 0 else 1.0
    up, down = _balanced(left[:, :rank], values[:rank], right[:rank])
    return Reduced(replace(delta, thin=(up, down), dense=None), values, energy)


def decomposed(delta: Delta) -> tuple[Tensor, Tensor, Tensor]:
    """(left (out, k), singular values (k,), right (k, in·kernel)), float64."""
    if delta.thin is not None and delta.rank < delta.full_rank:
        return _thin_svd(*delta.thin)
    return _dense_svd(delta.matrix())


def singular_values(delta: Delta) -> Tensor:
    """The singular values alone, float64, the largest first."""
    if delta.thin is not None and delta.rank < delta.full_rank:
        up, down = (torch.linalg.qr(each.double(), mode="r")[1] for each in (delta.thin[0], delta.thin[1].T))
        return torch.linalg.svdvals(up @ down.T)
    matrix = delta.matrix().double()
    small = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    return torch.linalg.eigvalsh(small).flip(0).clamp(min=0.0).sqrt()


def chosen_rank(values: Tensor, rule: Reduction, *, is_kernel: bool) -> int:
    """How many singular values the rule keeps: at least 1."""
    limit = rule.conv_rank if is_kernel and rule.conv_rank is not None else rule.rank
    most = min(len(values), limit) if limit is not None else len(values)
    if rule.rule == "rank" or not len(values) or float(values[0]) <= 0.0:
        return max(most if float(values[:1].sum()) > 0.0 else 1, 1)
    keep = rule.keep if rule.keep is not None else 1.0
    if rule.rule == "ratio":
        found = int((values > values[0] / keep).sum())
    else:
        sums = (values.square() if rule.rule == "energy" else values).cumsum(0)
        # The last sum must be reached in spite of rounding.
        found = int(torch.searchsorted(sums, sums[-1] * keep * (1.0 - 1e-12))) + 1
    return max(1, min(found, most))


def auto_reduction(delta: Delta, asked: Reduction | None, kind: str) -> Reduction | None:
    """What is done to this change: what was asked for, or in "auto" 99.9 % of the energy where it expands too far."""
    if asked is not None or kind != "auto":
        return asked
    return AUTO if delta.expanded and delta.rank * AUTO_SHARE > delta.full_rank else None


def lossless(delta: Delta) -> Delta:
    """A dense change as a product of full rank; others as they are."""
    if delta.dense is None or len(delta.shape) < 2:
        return delta
    left, values, right = _dense_svd(delta.matrix())
    rank = max(1, int((values > values[0] * 1e-9).sum())) if len(values) else 1
    return replace(delta, thin=_balanced(left[:, :rank], values[:rank], right[:rank]), dense=None)


def is_kernel(shape: tuple[int, ...]) -> bool:
    """A convolution larger than 1×1, whose rank has its own limit."""
    return len(shape) > 2 and max(shape[2:]) > 1


def _thin_svd(up: Tensor, down: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    up_q, up_r = torch.linalg.qr(up.double())
    down_q, down_r = torch.linalg.qr(down.double().T)
    left, values, right = torch.linalg.svd(up_r @ down_r.T)
    return up_q @ left, values, right @ down_q.T


def _dense_svd(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    wide = matrix.shape[0] <= matrix.shape[1]
    exact = matrix.double() if wide else matrix.double().T
    left = torch.linalg.eigh(exact @ exact.T)[1].flip(1)
    # Singular values as lengths of what the eigenvectors carry: exact for small ones too, and the product is right.
    carried = left.T @ exact
    values = torch.linalg.vector_norm(carried, dim=1)
    right = carried / values.clamp(min=1e-300).unsqueeze(1)
    return (left, values, right) if wide else (right.T, values, left.T)


def _balanced(left: Tensor, values: Tensor, right: Tensor) -> LowRank:
    """Both sides get √S, so that neither leaves what float16 holds well."""
    root = values.sqrt()
    return (left * root).float().contiguous(), (root.unsqueeze(1) * right).float().contiguous()
