"""Concatenation: the factors of all inputs side by side, never reduced. The same change as the weighted sum."""

from __future__ import annotations

from engine.errors import MergeError
from engine.merge.methods.base import need_inputs
from engine.merge.methods.weighted_sum import WeightedSum
from engine.protocol.merge import MergeRecipe
from engine.protocol.merge_reports import MethodView


class Concat(WeightedSum):
    """For those who want every rank kept by name."""

    view = MethodView(
        id="concat",
        title="Concatenation",
        summary="All ranks side by side, as large as the inputs together.",
        exact=True,
    )

    def validate(self, recipe: MergeRecipe) -> None:
        need_inputs(recipe, 1)
        if recipe.target.reduction is not None:
            raise MergeError(
                "merge_rank_out_of_range",
                "Concatenation keeps every rank, so it takes no target rank.",
                "Leave the rank out, or choose the weighted sum or SVD.",
            )
