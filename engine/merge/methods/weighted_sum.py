"""Weighted sum: Σ wᵢ ΔWᵢ, exact over mixed ranks and kinds. What stacking the inputs does."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from engine.merge.delta import Delta, combined
from engine.merge.methods.base import Share, need_inputs
from engine.protocol.merge import MergeRecipe, MethodOptions
from engine.protocol.merge_reports import MethodView


class WeightedSum:
    """Ranks add up; they are reduced only where the recipe asks for it."""

    view = MethodView(
        id="weighted_sum",
        title="Weighted sum",
        summary="The changes added up by their weights, as stacking them does.",
        exact=True,
    )

    def validate(self, recipe: MergeRecipe) -> None:
        need_inputs(recipe, 1)

    def merge(self, shares: Sequence[Share], options: MethodOptions, random: torch.Generator) -> Delta:
        return combined([share.delta for share in shares], [share.weight for share in shares])
