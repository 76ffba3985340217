"""Kinds of adapters that extensions brought: what the library needs to tell their files, and what reads them.

The one list of this sort: scanning (without torch) and reading (with torch) have to agree on what a kind is. Only the
loading of extensions writes to it, before the folders are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class AddedKind:
    """One kind.

    Attributes:
        extension: whose it is. title: for people, as "LoRA" is.
        names: the ends of its tensors' names, after the module's name and a dot.
        detect: from those ends to their numbers of dimensions → whether a module is of this kind.
        read: (`engine.adapters.kinds.parts.Parts`, `engine.adapters.modules.TargetModule`) → a `ModulePatch`.
    """

    extension: str
    title: str
    names: frozenset[str]
    detect: Callable[[Mapping[str, int]], bool]
    read: Callable[[Any, Any], Any]


_ADDED: list[AddedKind] = []


def added_kinds() -> tuple[AddedKind, ...]:
    """All of them, in the order in which they came."""
    return tuple(_ADDED)


def set_added_kinds(kinds: tuple[AddedKind, ...]) -> None:
    """These and no others from now on."""
    _ADDED[:] = kinds


def added_ending(name: str) -> tuple[str, str, AddedKind] | None:
    """(module, end, kind) of a tensor's name that ends as an added kind's names do; None for every other."""
    for kind in _ADDED:
        for end in kind.names:
            if name.endswith(f".{end}"):
                return name[: -len(end) - 1], end, kind
    return None


def added_mark() -> str:
    """Different for different lists: what was told of a file with another list may not hold."""
    return " ".join(sorted(f"{kind.title}:{','.join(sorted(kind.names))}" for kind in _ADDED))
