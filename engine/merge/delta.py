"""Delta: one module's change as a value, thin (a product of two narrow matrices) or dense, with the sums merging needs.

Sums of thin changes stay thin: Σ wᵢ UᵢDᵢ = [w₁U₁ w₂U₂ …] · [D₁; D₂; …]. Norms and inner products come from the thin
matrices too, (U₁D₁)·(U₂D₂) = Σ (U₁ᵀU₂)∘(D₁D₂ᵀ), so no full weight is built.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod, sqrt

import torch
from torch import Tensor

from engine.adapters.patch import LowRank

# Relative squares below which a difference of two norms is mostly rounding.
_NEAR = 1e-12


@dataclass(frozen=True)
class Delta:
    """ΔW of one module.

    Attributes:
        shape: of the weight.
        thin: (up (out, r), down (r, in·kernel)), float32; None where it is dense or changes no weight.
        dense: (out, in·kernel) or (n,), float32; None where it is thin or changes no weight.
        bias: what is added to the bias, float32 (out,), or None.
        expanded: its thin form is much larger than what the file held (LoHa, LoKr), or it was made against a base.
        norm_layer: it belongs to a normalisation layer.
    """

    shape: tuple[int, ...]
    thin: LowRank | None = None
    dense: Tensor | None = None
    bias: Tensor | None = None
    expanded: bool = False
    norm_layer: bool = False

    @property
    def rows(self) -> int:
        return self.shape[0]

    @property
    def columns(self) -> int:
        return prod(self.shape[1:])

    @property
    def full_rank(self) -> int:
        """The largest rank that a matrix of this shape can have."""
        return min(self.rows, self.columns)

    @property
    def rank(self) -> int:
        """The number of columns of `up`; the full rank where it is dense, 0 where the weight stays."""
        if self.thin is not None:
            return int(self.thin[0].shape[1])
        return self.full_rank if self.dense is not None else 0

    def matrix(self) -> Tensor:
        """(out, in·kernel), float32."""
        if self.dense is not None:
            return self.dense.reshape(self.rows, -1)
        if self.thin is None:
            return torch.zeros(self.rows, self.columns)
        return self.thin[0] @ self.thin[1]

    def times(self, factor: float) -> Delta:
        """The change, and its bias, times a number."""
        return replace(
            self,
            thin=None if self.thin is None else (self.thin[0] * factor, self.thin[1]),
            dense=None if self.dense is None else self.dense * factor,
            bias=None if self.bias is None else self.bias * factor,
        )


def combined(deltas: Sequence[Delta], weights: Sequence[float]) -> Delta:
    """Σ wᵢ ΔWᵢ, exact: thin where all are thin and the rank stays below the full one, else dense."""
    first = deltas[0]
    used = [(delta, weight) for delta, weight in zip(deltas, weights, strict=True) if weight]
    thin = [(delta.thin, weight) for delta, weight in used if delta.thin is not None]
    dense = [(delta.dense, weight) for delta, weight in used if delta.dense is not None]
    biases = [delta.bias.double() * weight for delta, weight in used if delta.bias is not None]
    result = Delta(
        first.shape,
        bias=torch.stack(biases).sum(0).float() if biases else None,
        expanded=any(delta.expanded for delta, _ in used),
        norm_layer=first.norm_layer,
    )
    if not thin and not dense:
        return result
    joined = _side_by_side(thin) if thin else None
    if not dense and joined is not None and joined[0].shape[1] < first.full_rank:
        return replace(result, thin=joined)
    total = torch.zeros(first.rows, first.columns, dtype=torch.float32)
    if joined is not None:
        total.addmm_(*joined)
    for each, weight in dense:
        total.add_(each.reshape(first.rows, -1), alpha=weight)
    return replace(result, dense=total)


def _side_by_side(thin: Sequence[tuple[LowRank, float]]) -> LowRank:
    """[w₁U₁ w₂U₂ …] and [D₁; D₂; …], the weighted sides written straight into their places."""
    joined = torch.empty(thin[0][0][0].shape[0], sum(up.shape[1] for (up, _), _ in thin))
    start = 0
    for (up, _), weight in thin:
        torch.mul(up, weight, out=joined[:, start : start + up.shape[1]])
        start += up.shape[1]
    return joined, torch.cat([down for (_, down), _ in thin])


def inner(one: Delta, other: Delta) -> float:
    """Σ of the products of all values, biases left out; float64."""
    if (one.thin is None and one.dense is None) or (other.thin is None and other.dense is None):
        return 0.0
    if one.thin is not None and other.thin is not None:
        (up, down), (other_up, other_down) = one.thin, other.thin
        left, right = up.double().T @ other_up.double(), down.double() @ other_down.double().T
        return float((left * right).sum())
    if one.thin is None and other.thin is not None:
        one, other = other, one
    if one.thin is not None and other.dense is not None:
        up, down = one.thin
        return float(((other.dense.reshape(one.rows, -1) @ down.T).double() * up.double()).sum())
    return float((one.matrix().double() * other.matrix().double()).sum())


def norm2(delta: Delta) -> float:
    """‖ΔW‖² + ‖Δb‖², float64."""
    if delta.thin is not None:
        # A sum of squares: float32 products lose nothing that counts.
        up, down = delta.thin
        weight = _dot(up.T @ up, down @ down.T)
    else:
        weight = float(delta.dense.double().square().sum()) if delta.dense is not None else 0.0
    return max(weight, 0.0) + (float(delta.bias.double().square().sum()) if delta.bias is not None else 0.0)


def norm2_and_rounding2(exact: Delta, rounded: Delta) -> tuple[float, float]:
    """(‖exact‖², ‖rounded − exact‖²), float64, for a change and the same with its numbers rounded: less work in one.

    U'D' − UD = (U' − U)D' + U(D' − D). Each term is as small as the difference, so float32 measures it well. Where no
    number of D was rounded, which is usual, one term is left.
    """
    if exact.thin is None or rounded.thin is None or exact.thin[0].shape != rounded.thin[0].shape:
        return norm2(exact), distance2(rounded, exact)
    (up, down), (other_up, other_down) = exact.thin, rounded.thin
    up_off = other_up - up
    downs = down @ down.T
    size2 = _dot(up.T @ up, downs)
    kept = torch.equal(down, other_down)
    error2 = _dot(up_off.T @ up_off, downs) if kept else _thin_distance2(exact.thin, rounded.thin)
    bias2 = float(exact.bias.double().square().sum()) if exact.bias is not None else 0.0
    return max(size2, 0.0) + bias2, max(error2, 0.0) + _bias_distance2(exact.bias, rounded.bias)


def distance2(one: Delta, other: Delta) -> float:
    """‖one − other‖² of weights and biases, float64."""
    bias = _bias_distance2(one.bias, other.bias)
    if one.thin is not None and other.thin is not None:
        return bias + _thin_distance2(one.thin, other.thin)
    return bias + float((one.matrix() - other.matrix()).double().square().sum())


def relative(error2: float, size2: float) -> float:
    """√(error² / size²); 0 where both are nothing."""
    if error2 <= 0.0:
        return 0.0
    return sqrt(error2 / size2) if size2 > 0.0 else 1.0


def _thin_distance2(one: LowRank, other: LowRank) -> float:
    (up, down), (other_up, other_down) = one, other
    if up.shape == other_up.shape:
        # U'D' − UD = (U' − U)D' + U(D' − D): exact for a product and its rounding, however near they are.
        # Each term is as small as the difference, so float32 measures it well.
        up_off, down_off = other_up - up, other_down - down
        terms = (
            (up_off.T @ up_off) * (other_down @ other_down.T),
            (up.T @ up) * (down_off @ down_off.T),
            2.0 * (up_off.T @ up) * (other_down @ down_off.T),
        )
        return max(sum(float(term.double().sum()) for term in terms), 0.0)
    joined = torch.cat([up, other_up], 1).double(), torch.cat([down, -other_down]).double()
    products = (joined[0].T @ joined[0]) * (joined[1] @ joined[1].T)
    difference, size = float(products.sum()), float(products[: up.shape[1], : up.shape[1]].sum())
    if difference > _NEAR * size:
        return difference
    # Nearly equal: their difference drowns in their size, but not through the triangles of the joined factors.
    triangles = [torch.linalg.qr(each, mode="r")[1] for each in (joined[0], joined[1].T)]
    return float((triangles[0] @ triangles[1].T).square().sum())


def _dot(one: Tensor, other: Tensor) -> float:
    return float((one.double() * other.double()).sum())


def _bias_distance2(one: Tensor | None, other: Tensor | None) -> float:
    if one is None and other is None:
        return 0.0
    if one is None or other is None:
        present = one if one is not None else other
        assert present is not None
        return float(present.double().square().sum())
    return float((one.double() - other.double()).square().sum())
