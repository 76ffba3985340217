"""DARE: values are dropped at random and the others grow to make up for it, then a sum, or TIES.

Maths: Yu et al. 2023, https://arxiv.org/abs/2311.03099, as peft computes it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from engine.merge.delta import Delta
from engine.merge.methods.base import Share, need_density, need_inputs
from engine.merge.methods.dense import Merge, on_values
from engine.protocol.merge import MergeRecipe, MethodOptions
from engine.protocol.merge_reports import MethodView


class Dare:
    """What is dropped follows from the recipe's seed, so a recipe makes the same file again."""

    view = MethodView(
        id="dare",
        title="DARE",
        summary="Drops values at random and scales up the rest, so that inputs get out of each other's way.",
        options=("density", "seed"),
    )

    def validate(self, recipe: MergeRecipe) -> None:
        need_inputs(recipe, 1)
        need_density(recipe.options)

    def merge(self, shares: Sequence[Share], options: MethodOptions, random: torch.Generator) -> Delta:
        from peft.utils.merge_utils import dare_linear

        return _drawn(shares, random, lambda values, weights: dare_linear(values, weights, options.density))


class DareTies(Dare):
    """DARE with TIES' election of signs."""

    view = MethodView(
        id="dare_ties",
        title="DARE with TIES",
        summary="Drops values at random, then settles conflicts of sign.",
        options=("density", "majority", "seed"),
    )

    def validate(self, recipe: MergeRecipe) -> None:
        need_inputs(recipe, 2)
        need_density(recipe.options)

    def merge(self, shares: Sequence[Share], options: MethodOptions, random: torch.Generator) -> Delta:
        from peft.utils.merge_utils import dare_ties

        return _drawn(
            shares, random, lambda values, weights: dare_ties(values, weights, options.density, options.majority)
        )


def _drawn(shares: Sequence[Share], random: torch.Generator, merge: Merge) -> Delta:
    # peft draws from torch's own generator: it is put back as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(random.initial_seed())
        return on_values(shares, merge)
