"""SVD: the weighted sum, cut to a fixed rank by its largest singular values."""

from __future__ import annotations

from engine.errors import MergeError
from engine.merge.methods.base import need_inputs
from engine.merge.methods.weighted_sum import WeightedSum
from engine.protocol.merge import MergeRecipe
from engine.protocol.merge_reports import MethodView


class Svd(WeightedSum):
    """The nearest change of that rank; what is lost is told as energy and error."""

    view = MethodView(
        id="svd",
        title="SVD to a rank",
        summary="The weighted sum, cut to a fixed rank; the error is shown.",
        needs_reduction=True,
    )

    def validate(self, recipe: MergeRecipe) -> None:
        need_inputs(recipe, 1)
        reduction = recipe.target.reduction
        if reduction is None or reduction.rule != "rank" or reduction.rank is None:
            raise MergeError("merge_rank_out_of_range", "SVD needs a target rank.", "Name one: 16 or 32 suit most.")
