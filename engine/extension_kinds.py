"""A kind of adapter as an extension gives it, made safe: checked once, and its faults told as the file's."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.errors import SpecError
from engine.extension_folder import guard
from engine.library.added_kinds import AddedKind, added_kinds

_NAME = re.compile(r"[A-Za-z0-9_]+(?:\.(?:weight|bias))?")
_LONGEST_TITLE = 24


def added_kind(extension: str, kind: Any, so_far: Sequence[AddedKind]) -> AddedKind:
    """The kind for the list of added kinds.

    Raises:
        SpecError: `extension_unusable`.
    """
    # torch is imported here and not above: most extensions bring no kind.
    from engine.adapters.keys.spelling import canonical_suffix
    from engine.adapters.kinds import KINDS

    title, names = getattr(kind, "title", None), getattr(kind, "names", None)
    if not isinstance(title, str) or not 0 < len(title.strip()) <= _LONGEST_TITLE:
        raise _unusable(f"its title must be a text of 1 to {_LONGEST_TITLE} characters")
    if (
        isinstance(names, str)
        or not names
        or not all(isinstance(name, str) and _NAME.fullmatch(name) for name in names)
    ):
        raise _unusable(f"the names of {title} must be ends of tensors' names, such as “my_up.weight”")
    for verb in ("detect", "read"):
        if not callable(getattr(kind, verb, None)):
            raise _unusable(f"{title} has no {verb}()")
    others = (*added_kinds(), *so_far)
    taken_titles = {own.title for own in KINDS} | {each.title for each in others if each.extension != extension}
    if title in taken_titles:
        raise _unusable(f"there is a kind {title} already")
    taken = [name for name in names if canonical_suffix(name) or name == "weight"]
    taken += [
        name for each in others if each.extension != extension or each in so_far for name in each.names & {*names}
    ]
    if taken:
        raise _unusable(f"the name “{taken[0]}” of {title} means something else already")
    return AddedKind(extension, title, frozenset(names), _detecting(kind), _reading(kind, extension, title))


def _detecting(kind: Any) -> Callable[[Mapping[str, int]], bool]:
    def detect(dims: Mapping[str, int]) -> bool:
        found: list[bool] = []
        guard(lambda: found.append(bool(kind.detect(dims))))
        return bool(found) and found[0]

    return detect


def _reading(kind: Any, extension: str, title: str) -> Callable[[Any, Any], Any]:
    from engine.adapters.kinds.parts import Damaged, Incomplete, Misfit

    def read(parts: Any, target: Any) -> Any:
        found: list[Any] = []
        told: list[Exception] = []

        def ask() -> None:
            try:
                found.append(kind.read(parts, target))
            except (Damaged, Incomplete, Misfit) as error:
                told.append(error)

        reason, place = guard(ask)
        if told:
            raise told[0]
        if reason:
            where = f" ({place})" if place else ""
            raise Damaged(f"the extension {extension}, which reads {title}, failed: {reason.rstrip('.')}{where}")
        patch = found[0]
        missing = [verb for verb in ("delta", "bias_delta", "low_rank", "bypass", "nbytes") if not hasattr(patch, verb)]
        if missing:
            raise Damaged(f"what the extension {extension} makes of {title} has no {missing[0]}")
        return patch

    return read


def _unusable(what: str) -> SpecError:
    return SpecError("extension_unusable", f"The kind of adapter cannot be added: {what}.", "Correct it.")
