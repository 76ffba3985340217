"""Add difference: A + w · (B − C): what B learnt beyond C, on top of A."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from engine.merge.delta import Delta, combined
from engine.merge.methods.base import Share, need_inputs
from engine.protocol.merge import MergeRecipe, MethodOptions
from engine.protocol.merge_reports import MethodView


class AddDifference:
    """Three inputs in the order A, B, C. B's weight is that of the difference; C's multiplies what is taken away."""

    view = MethodView(
        id="add_difference",
        title="Add difference",
        summary="First + weight · (second − third).",
    )

    def validate(self, recipe: MergeRecipe) -> None:
        need_inputs(recipe, 3, 3)

    def merge(self, shares: Sequence[Share], options: MethodOptions, random: torch.Generator) -> Delta:
        first, second, third = shares
        weights = [first.weight, second.weight, -second.weight * third.weight]
        return combined([share.delta for share in shares], weights)
