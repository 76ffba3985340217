"""TIES: only the largest values of each input, one sign elected per place, then the mean of those that agree.

Maths: Yadav et al. 2023, https://arxiv.org/abs/2306.01708, as peft computes it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from engine.merge.delta import Delta
from engine.merge.methods.base import Share, need_density, need_inputs
from engine.merge.methods.dense import on_values
from engine.protocol.merge import MergeRecipe, MethodOptions
from engine.protocol.merge_reports import MethodView


class Ties:
    """Inputs that pull in opposite directions do not cancel each other."""

    view = MethodView(
        id="ties",
        title="TIES",
        summary="Keeps each input's largest values and settles conflicts of sign.",
        options=("density", "majority"),
    )

    def validate(self, recipe: MergeRecipe) -> None:
        need_inputs(recipe, 2)
        need_density(recipe.options)

    def merge(self, shares: Sequence[Share], options: MethodOptions, random: torch.Generator) -> Delta:
        from peft.utils.merge_utils import ties

        return on_values(shares, lambda values, weights: ties(values, weights, options.density, options.majority))
