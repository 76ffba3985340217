"""Dynamic rank: the weighted sum, each module cut to the rank that a share of its energy (or a ratio) asks for."""

from __future__ import annotations

from engine.errors import MergeError
from engine.merge.methods.base import need_inputs
from engine.merge.methods.weighted_sum import WeightedSum
from engine.protocol.merge import MergeRecipe
from engine.protocol.merge_reports import MethodView


class Dynamic(WeightedSum):
    """Ranks differ from module to module; modules that learnt little become thin."""

    view = MethodView(
        id="dynamic",
        title="Dynamic rank",
        summary="The weighted sum, each module as thin as the kept energy, ratio or sum allows.",
        needs_reduction=True,
    )

    def validate(self, recipe: MergeRecipe) -> None:
        need_inputs(recipe, 1)
        reduction = recipe.target.reduction
        if reduction is None or reduction.rule == "rank" or reduction.keep is None:
            raise MergeError(
                "merge_rank_out_of_range",
                "Dynamic rank needs a rule (energy, ratio or cumulative) and how much to keep.",
                "An energy of 0.99 suits most.",
            )
