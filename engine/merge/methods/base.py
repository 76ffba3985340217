"""What a merge method is: two verbs over the changes of one module. An extension's method has the same two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from engine.errors import MergeError
from engine.merge.delta import Delta
from engine.protocol.merge import MergeRecipe, MethodOptions
from engine.protocol.merge_reports import MethodView


@dataclass(frozen=True)
class Share:
    """One input's part in one module: its change at weight 1, and its weight there (component and block together).

    An input that does not change the module has a share whose change is empty, so places are those of the recipe.
    """

    delta: Delta
    weight: float


class MergeMethod(Protocol):
    """One method. It holds no state: the same recipe makes the same file."""

    @property
    def view(self) -> MethodView:
        """Its name and what it reads, for a list."""
        ...

    def validate(self, recipe: MergeRecipe) -> None:
        """Refuse what it cannot work with, in one sentence.

        Raises:
            MergeError: `merge_inputs_missing`, `merge_option_out_of_range`, `merge_rank_out_of_range`.
        """
        ...

    def merge(self, shares: Sequence[Share], options: MethodOptions, random: torch.Generator) -> Delta:
        """The change that the shares (at least one, in the recipe's order) make together, before ranks are reduced.

        Args:
            random: seeded from the recipe and the module, for methods that draw.
        """
        ...


def need_inputs(recipe: MergeRecipe, least: int, most: int | None = None) -> None:
    """Refuse a number of inputs that means nothing.

    Raises:
        MergeError: `merge_inputs_missing`.
    """
    count = len(recipe.inputs)
    if count < least or (most is not None and count > most):
        wanted = f"{least}" if most == least else f"at least {least}" if most is None else f"{least} to {most}"
        raise MergeError(
            "merge_inputs_missing",
            f"The method “{recipe.method}” works on {wanted} inputs, and the recipe names {count}.",
            "Add or take away inputs, or choose another method.",
        )


def need_density(options: MethodOptions) -> None:
    """Refuse a density that keeps nothing or more than all.

    Raises:
        MergeError: `merge_option_out_of_range`.
    """
    if not 0.0 < options.density <= 1.0:
        raise MergeError(
            "merge_option_out_of_range",
            f"The density must be above 0 and at most 1, not {options.density:g}.",
            "0.5 keeps half of the values.",
        )
