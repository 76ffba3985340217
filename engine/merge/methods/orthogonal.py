"""Keep only what is new: of each input only what points in no direction of the inputs before it, module by module.

Gram-Schmidt over the changes as vectors: the part of ΔWᵢ along earlier changes is taken away, so what two adapters say
in common counts once. The result is a sum of the changes with other weights, so it stays as thin as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from engine.merge.delta import Delta, combined, inner
from engine.merge.methods.base import Share, need_inputs
from engine.protocol.merge import MergeRecipe, MethodOptions
from engine.protocol.merge_reports import MethodView

_PARALLEL = 1e-10


class Orthogonal:
    """The first input stays whole; the order of the recipe matters."""

    view = MethodView(
        id="orthogonal",
        title="Keep only what is new",
        summary="Takes from each input what the ones before it do not say already.",
    )

    def validate(self, recipe: MergeRecipe) -> None:
        need_inputs(recipe, 2)

    def merge(self, shares: Sequence[Share], options: MethodOptions, random: torch.Generator) -> Delta:
        deltas = [share.delta for share in shares]
        gram = torch.tensor([[inner(one, other) for other in deltas] for one in deltas], dtype=torch.float64)
        coefficients = new_parts(gram)
        weights = torch.tensor([share.weight for share in shares], dtype=torch.float64) @ coefficients
        # Biases are not part of the angle: they are summed as they are.
        merged = combined(deltas, [float(weight) for weight in weights])
        biases = [share.delta.bias * share.weight for share in shares if share.delta.bias is not None]
        bias = torch.stack(biases).sum(0) if biases else None
        return replace(merged, bias=bias)


def new_parts(gram: Tensor) -> Tensor:
    """Rows: what is new in each vector as a combination of all of them; from their inner products (n, n), float64."""
    count = gram.shape[0]
    rows = torch.eye(count, dtype=torch.float64)
    for place in range(count):
        for before in range(place):
            length = float(rows[before] @ gram @ rows[before])
            if length > _PARALLEL * float(gram[before, before]):
                share = float(rows[place] @ gram @ rows[before]) / length
                rows[place] = rows[place] - share * rows[before]
        if float(rows[place] @ gram @ rows[place]) <= _PARALLEL * float(gram[place, place]):
            rows[place] = 0.0
    return rows
