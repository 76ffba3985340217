"""The methods that a recipe may name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from engine.errors import MergeError
from engine.merge.methods.add_difference import AddDifference
from engine.merge.methods.base import MergeMethod
from engine.merge.methods.concat import Concat
from engine.merge.methods.dare import Dare, DareTies
from engine.merge.methods.dynamic import Dynamic
from engine.merge.methods.magnitude_prune import MagnitudePrune
from engine.merge.methods.orthogonal import Orthogonal
from engine.merge.methods.svd import Svd
from engine.merge.methods.ties import Ties
from engine.merge.methods.weighted_sum import WeightedSum


def own_methods() -> dict[str, MergeMethod]:
    """Easel's methods by id, in the order of a list. Extensions add theirs to the copy that they are given."""
    methods: tuple[MergeMethod, ...] = (
        WeightedSum(), Concat(), Svd(), Dynamic(), Ties(), Dare(), DareTies(), MagnitudePrune(), AddDifference(),
        Orthogonal(),
    )  # fmt: skip
    return {method.view.id: method for method in methods}


def method_of(name: str, methods: Mapping[str, MergeMethod]) -> MergeMethod:
    """The method of that id.

    Raises:
        MergeError: `merge_method_unknown`.
    """
    if (found := methods.get(name)) is not None:
        return found
    near = difflib.get_close_matches(name, methods, n=1)
    known = ", ".join(methods)
    raise MergeError(
        "merge_method_unknown",
        f"There is no merge method “{name[:80]}”.",
        f"Did you mean “{near[0]}”?" if near else f"There are: {known}.",
    )
