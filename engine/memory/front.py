"""The front of time and memory: what is worth choosing at all. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


def dominated(found: Mapping[Name, tuple[float, float]]) -> dict[Name, Name]:
    """Those that another beats: it is at least as good in both numbers and better in one.

    Args:
        found: name → (time, memory); smaller is better.

    Returns:
        The beaten ones with what beats them; among several the one that takes least memory.
    """
    beaten: dict[Name, Name] = {}
    for name, mine in found.items():
        better = [
            (theirs[1], theirs[0], index, other)
            for index, (other, theirs) in enumerate(found.items())
            if theirs[0] <= mine[0] and theirs[1] <= mine[1] and theirs != mine
        ]
        if better:
            beaten[name] = min(better)[-1]
    return beaten
