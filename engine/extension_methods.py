"""A merge method as an extension gives it, made safe: checked once, and its faults told as the recipe's."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from engine.errors import MergeError, SpecError, StudioError
from engine.extension_folder import guard
from engine.protocol.merge import MergeRecipe, MethodOptions
from engine.protocol.merge_reports import MethodView

if TYPE_CHECKING:
    import torch

    from engine.merge.delta import Delta
    from engine.merge.methods.base import Share

_ID = re.compile(r"[a-z][a-z0-9_]{0,39}")
_OPTIONS = set(MethodOptions.model_fields)
Found = TypeVar("Found")


@dataclass(frozen=True)
class AddedMethod:
    """One method; it has the verbs of `engine.merge.methods.base.MergeMethod`."""

    extension: str
    view: MethodView
    given: Any

    def validate(self, recipe: MergeRecipe) -> None:
        """Refuse what it cannot work with.

        Raises:
            MergeError: its own, or `merge_method_failed`.
        """
        self._guarded(lambda: self.given.validate(recipe))

    def merge(self, shares: Sequence[Share], options: MethodOptions, random: torch.Generator) -> Delta:
        """The change that the shares make together.

        Raises:
            MergeError: its own, or `merge_method_failed`, also where it makes no change of this shape.
        """
        from engine.merge.delta import Delta

        made = self._guarded(lambda: self.given.merge(shares, options, random))
        wanted = shares[0].delta
        if not isinstance(made, Delta) or made.shape != wanted.shape or not _fits(made):
            raise self._failed(f"it did not make a Delta of the shape {'×'.join(map(str, wanted.shape))}")
        return made

    def _guarded(self, act: Callable[[], Found]) -> Found:
        found: list[Found] = []
        told: list[StudioError] = []

        def ask() -> None:
            try:
                found.append(act())
            except StudioError as error:
                told.append(error)

        reason, place = guard(ask)
        if told:
            raise told[0]
        if reason:
            raise self._failed(reason.rstrip(".") + (f" ({place})" if place else ""))
        return found[0]

    def _failed(self, what: str) -> MergeError:
        return MergeError(
            "merge_method_failed",
            f"The merge method “{self.view.title}” of the extension {self.extension} failed: {what}.",
            "Tell its author, or choose another method.",
        )


def added_method(extension: str, method: Any, so_far: Sequence[AddedMethod]) -> AddedMethod:
    """The method for the list of methods.

    Raises:
        SpecError: `extension_unusable`.
    """
    # torch is imported here and not above: most extensions bring no method.
    from engine.merge.methods.table import own_methods

    view = getattr(method, "view", None)
    if not isinstance(view, MethodView):
        raise _unusable("it has no “view” (engine.protocol.merge_reports.MethodView)")
    if not _ID.fullmatch(view.id) or not view.title.strip() or not view.summary.strip():
        raise _unusable(
            "its id must be small letters, digits and underscores, and title and summary must say something"
        )
    for verb in ("validate", "merge"):
        if not callable(getattr(method, verb, None)):
            raise _unusable(f"{view.title} has no {verb}()")
    if strange := sorted(set(view.options) - _OPTIONS):
        raise _unusable(f"{view.title} asks for “{strange[0]}”, and the options are {', '.join(sorted(_OPTIONS))}")
    if view.id in own_methods() or view.id in {each.view.id for each in so_far}:
        raise _unusable(f"there is a method “{view.id}” already")
    # Whether a result equals stacking is measured, not believed: "exact" is for Easel's own.
    return AddedMethod(extension, view.model_copy(update={"exact": False}), method)


def require_one_each(methods: Sequence[AddedMethod]) -> None:
    """Two extensions must not take the same id: recipes name methods by it.

    Raises:
        SpecError: `extension_unusable`.
    """
    by_id: dict[str, AddedMethod] = {}
    for method in methods:
        other = by_id.setdefault(method.view.id, method)
        if other is not method:
            raise _unusable(f"the extension {other.extension} has a method “{method.view.id}” already")


def _fits(made: Delta) -> bool:
    if made.thin is not None:
        up, down = made.thin
        return up.shape[0] == made.rows and down.shape[1] == made.columns and up.shape[1] == down.shape[0]
    return made.dense is None or made.dense.numel() == made.rows * made.columns


def _unusable(what: str) -> SpecError:
    return SpecError("extension_unusable", f"The merge method cannot be added: {what}.", "Correct it.")
