"""The first singular vectors of a large dense matrix by random projection, with proof that they are right.

Maths: Halko, Martinsson, Tropp 2011, https://arxiv.org/abs/0909.4061. Each found value carries a residual
‖A Aᵀu − s²u‖ that bounds how far s² is from one of A's own; what all of them together may cost is compared with the
error of the approximation itself, and where that is not small enough, the exact way is taken instead.
"""

from __future__ import annotations

import torch
from torch import Tensor

_MORE = 10
_ROUNDS = 6
# Of ‖A‖²: what the approximation may be worse than the best one of its rank.
_MAY_COST = 1e-6


def leading(matrix: Tensor, rank: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor] | None:
    """(left (m, rank), values (rank,), right (rank, n)), float64; None where the bound was not met."""
    rows, columns = matrix.shape
    width = rank + _MORE
    if width * 3 > min(rows, columns):
        return None
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(matrix @ torch.randn(columns, width, generator=generator))[0]
    size2 = float(matrix.double().square().sum())
    if size2 == 0.0:
        return None
    for _ in range(_ROUNDS):
        basis = torch.linalg.qr(matrix @ (matrix.T @ basis))[0]
        small = (basis.T @ matrix).double()
        inner, values, right = torch.linalg.svd(small, full_matrices=False)
        left = basis.double() @ inner
        leading_left, leading_values = left[:, :rank], values[:rank]
        carried = (matrix @ (matrix.T @ leading_left.float())).double()
        residual = torch.linalg.vector_norm(carried - leading_left * leading_values.square(), dim=0)
        if float(residual.sum()) <= max(_MAY_COST * size2, 1e-3 * max(size2 - float(leading_values.square().sum()), 0)):
            return leading_left, leading_values, right[:rank]
    return None
