"""Which entries leave the pool: pure functions over plain values, no torch."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class PoolEntry:
    """A loaded thing as eviction sees it.

    Attributes:
        nbytes: its size in bytes.
        last_used: a counter that grows with every use; larger is more recent.
        uses: how often it was leased.
        leases: who uses it now; above zero it is never evicted.
        pinned: kept whatever comes.
    """

    key: Hashable
    nbytes: int
    last_used: int = 0
    uses: int = 0
    leases: int = 0
    pinned: bool = False


Order = Callable[[PoolEntry], tuple[float, ...]]


def least_recently_used(entry: PoolEntry) -> tuple[float, ...]:
    """Sort key: the entry that was used longest ago goes first."""
    return (entry.last_used,)


def least_often_used(entry: PoolEntry) -> tuple[float, ...]:
    """Sort key: the entry that was used least goes first; among equals the older one."""
    return (entry.uses, entry.last_used)


def largest_first(entry: PoolEntry) -> tuple[float, ...]:
    """Sort key: the largest entry goes first, so that few have to go; among equals the older one."""
    return (-entry.nbytes, entry.last_used)


def used_bytes(entries: Iterable[PoolEntry]) -> int:
    """Bytes that the entries hold together."""
    return sum(entry.nbytes for entry in entries)


def choose_victims(
    entries: Iterable[PoolEntry], need: int, budget: int, order: Order = least_recently_used
) -> tuple[Hashable, ...] | None:
    """Keys to evict, first to go first, so that `need` more bytes fit into `budget`.

    Leased and pinned entries are no candidates. Returns () where it fits already, None where it cannot be made to fit.
    """
    known = list(entries)
    missing = used_bytes(known) + need - budget
    victims: list[Hashable] = []
    for entry in sorted((entry for entry in known if not entry.leases and not entry.pinned), key=order):
        if missing <= 0:
            break
        victims.append(entry.key)
        missing -= entry.nbytes
    return None if missing > 0 else tuple(victims)
