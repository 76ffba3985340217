"""Which entries leave the pool: pure functions over plain values, no torch."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from engine.errors import SpecError


class EvictionPolicy(StrEnum):
    """Which entry goes first: used longest ago, used least, largest, or with the highest eviction score."""

    LRU = "lru"
    LFU = "lfu"
    SIZE = "size"
    SCORE = "score"


def parse_policy(text: str) -> EvictionPolicy:
    """A policy by its name. Raises SpecError `memory_policy_unknown`."""
    try:
        return EvictionPolicy(text.strip().lower())
    except ValueError:
        raise SpecError(
            "memory_policy_unknown",
            f"There is no rule “{text[:40]}” for what leaves memory first.",
            f"Take one of: {', '.join(EvictionPolicy)}.",
        ) from None


class Tier(StrEnum):
    """How much an entry is wanted: kept whatever comes, kept rather than others, or loaded when needed."""

    PINNED = "pinned"
    WARM = "warm"
    ON_DEMAND = "on_demand"


@dataclass(frozen=True)
class PoolEntry:
    """A loaded thing as eviction sees it.

    Attributes:
        nbytes: its size in bytes.
        last_used: a counter that grows with every use; larger is more recent.
        uses: how often it was leased.
        leases: who uses it now; above zero it is never evicted.
        pinned: kept whatever comes.
        warm: kept rather than others, where the policy looks at tiers.
        used_at: time of the last use in seconds.
        uses_24h: how often it was leased within the last 24 hours.
        queued: how many waiting pictures need it.
        dtype, device: how and where it is stored, in words; empty where that says nothing.
    """

    key: Hashable
    nbytes: int
    last_used: int = 0
    uses: int = 0
    leases: int = 0
    pinned: bool = False
    warm: bool = False
    used_at: float = 0.0
    uses_24h: int = 0
    queued: int = 0
    dtype: str = ""
    device: str = ""

    @property
    def tier(self) -> Tier:
        """The entry's tier."""
        return Tier.PINNED if self.pinned else Tier.WARM if self.warm else Tier.ON_DEMAND


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


def eviction_score(*, hours_idle: float, uses_24h: int, tier: Tier, queued: int) -> float:
    """How much an entry may go: higher goes first.

    +10 for each hour without use, −5 for each use of the last 24 hours, −100 for the warm and −1000 for the pinned
    tier, −20 for each waiting picture that needs it. The score only ranks: a pinned entry is never a candidate, however
    long it was idle (after 100 idle hours its score alone would let it go).
    """
    bonus = {Tier.PINNED: 1000.0, Tier.WARM: 100.0, Tier.ON_DEMAND: 0.0}[tier]
    return hours_idle * 10.0 - uses_24h * 5.0 - bonus - queued * 20.0


def highest_score(entry: PoolEntry, *, now: float) -> tuple[float, ...]:
    """Sort key: the entry with the highest eviction score goes first; `now` in seconds on the clock of `used_at`."""
    idle = max(0.0, now - entry.used_at) / 3600.0
    score = eviction_score(hours_idle=idle, uses_24h=entry.uses_24h, tier=entry.tier, queued=entry.queued)
    return (-score, entry.last_used)


def order_of(policy: EvictionPolicy, now: float = 0.0) -> Order:
    """The sort key of a policy at the time `now` (seconds)."""
    if policy is EvictionPolicy.SCORE:
        return partial(highest_score, now=now)
    return {
        EvictionPolicy.LRU: least_recently_used,
        EvictionPolicy.LFU: least_often_used,
        EvictionPolicy.SIZE: largest_first,
    }[policy]


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
