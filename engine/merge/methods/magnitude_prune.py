"""Magnitude prune: only the largest values of each input, then their weighted sum; as peft computes it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from engine.merge.delta import Delta
from engine.merge.methods.base import Share, need_density, need_inputs
from engine.merge.methods.dense import on_values
from engine.protocol.merge import MergeRecipe, MethodOptions
from engine.protocol.merge_reports import MethodView


class MagnitudePrune:
    """The small values of an input are mostly noise."""

    view = MethodView(
        id="magnitude_prune",
        title="Magnitude prune",
        summary="Keeps each input's largest values and sums them.",
        options=("density",),
    )

    def validate(self, recipe: MergeRecipe) -> None:
        need_inputs(recipe, 1)
        need_density(recipe.options)

    def merge(self, shares: Sequence[Share], options: MethodOptions, random: torch.Generator) -> Delta:
        from peft.utils.merge_utils import magnitude_prune

        return on_values(shares, lambda values, weights: magnitude_prune(values, weights, options.density))
