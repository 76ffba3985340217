"""ModelPool: loaded components under one budget, lent out by leases."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Generic, TypeVar

from engine.errors import OutOfMemoryError
from engine.memory.eviction import Order, PoolEntry, choose_victims, least_recently_used, used_bytes

T = TypeVar("T")
GIB = 1024**3


@dataclass
class _Slot:
    value: Any
    entry: PoolEntry


class Lease(Generic[T]):
    """The right to use a loaded thing; while it is held, the thing stays. Closing twice does nothing."""

    def __init__(self, pool: ModelPool, key: Hashable, value: T) -> None:
        self._pool = pool
        self.key = key
        self._value: T | None = value

    @property
    def value(self) -> T:
        """The thing itself. Only while the lease is held."""
        if self._value is None:
            raise AssertionError(f"the lease of {self.key!r} was closed")
        return self._value

    def close(self) -> None:
        """Give it back; what the pool does with it then is the pool's decision."""
        if self._value is not None:
            self._value = None
            self._pool._release(self.key)

    def __enter__(self) -> T:
        return self.value

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ModelPool:
    """Keeps what was loaded until the room is needed; what is leased is never evicted.

    One thread uses it (the worker), so there are no locks; `entries()` is a copy that others may read.

    Args:
        budget_bytes: how much may stay loaded.
        order: which entry goes first; least recently used unless said otherwise.
        on_change: called with "loaded" or "evicted" and the entry, for the panel and the log.
    """

    def __init__(
        self,
        budget_bytes: int,
        *,
        order: Order = least_recently_used,
        on_change: Callable[[str, PoolEntry], None] | None = None,
    ) -> None:
        self.budget_bytes = budget_bytes
        self._order = order
        self._on_change = on_change
        self._slots: dict[Hashable, _Slot] = {}
        self._facts: dict[Hashable, dict[str, Any]] = {}
        self._clock = 0
        self.hits = 0
        self.loads = 0
        self.evictions = 0

    def lease(
        self, key: Hashable, load: Callable[[], T], nbytes: int | Callable[[T], int], *, pin: bool = False
    ) -> Lease[T]:
        """Borrow the thing called `key`, loading it if it is not here.

        Args:
            nbytes: its size: a number, for which room is made before loading, or a function of the loaded thing.

        Raises:
            OutOfMemoryError: `model_larger_than_budget` when it cannot fit even alone, `out_of_memory` when everything
                else is in use. What `load` raises passes through; the pool is unchanged then.
        """
        slot = self._slots.get(key)
        if slot is None:
            if isinstance(nbytes, int):
                self._make_room(key, nbytes)
            value = load()
            size = nbytes if isinstance(nbytes, int) else nbytes(value)
            self._make_room(key, size)
            slot = self._slots[key] = _Slot(value, PoolEntry(key, size, pinned=pin))
            self.loads += 1
            self._tell("loaded", slot.entry)
        else:
            self.hits += 1
        self._clock += 1
        entry = slot.entry
        slot.entry = replace(
            entry,
            last_used=self._clock,
            uses=entry.uses + 1,
            leases=entry.leases + 1,
            pinned=entry.pinned or pin,
        )
        return Lease(self, key, slot.value)

    def entries(self) -> tuple[PoolEntry, ...]:
        """What is loaded, least recently used first."""
        return tuple(sorted((slot.entry for slot in self._slots.values()), key=least_recently_used))

    @property
    def used_bytes(self) -> int:
        """Bytes that are loaded now."""
        return used_bytes(slot.entry for slot in self._slots.values())

    def holds(self, key: Hashable) -> bool:
        """Whether the thing is loaded."""
        return key in self._slots

    def facts(self, key: Hashable) -> dict[str, Any]:
        """What was learnt about a thing and stays true after it is evicted (its decode precision, its preview)."""
        return self._facts.setdefault(key, {})

    def pin(self, key: Hashable, pinned: bool = True) -> None:
        """Keep a loaded thing whatever comes, or stop doing so."""
        slot = self._slots.get(key)
        if slot is not None:
            slot.entry = replace(slot.entry, pinned=pinned)

    def evict(self, key: Hashable) -> bool:
        """Drop a thing that nobody uses. Returns whether it was dropped."""
        slot = self._slots.get(key)
        if slot is None or slot.entry.leases:
            return False
        del self._slots[key]
        self.evictions += 1
        self._tell("evicted", slot.entry)
        return True

    def clear(self) -> int:
        """Drop everything that is neither leased nor pinned; returns how many bytes that were."""
        before = self.used_bytes
        for entry in self.entries():
            if not entry.pinned:
                self.evict(entry.key)
        return before - self.used_bytes

    def _make_room(self, key: Hashable, need: int) -> None:
        if need > self.budget_bytes:
            raise OutOfMemoryError(
                "model_larger_than_budget",
                f"{_shown(key)} needs {need / GIB:.1f} GB, and the memory budget is {self.budget_bytes / GIB:.1f} GB.",
                "Raise [memory] pool_gb in config.toml, or choose a smaller model.",
            )
        victims = choose_victims(self.entries(), need, self.budget_bytes, self._order)
        if victims is None:
            raise OutOfMemoryError(
                "out_of_memory",
                f"There is no room for {_shown(key)}: everything else that is loaded is in use.",
                "Wait for the running pictures, or raise [memory] pool_gb in config.toml.",
            )
        for victim in victims:
            self.evict(victim)

    def _release(self, key: Hashable) -> None:
        slot = self._slots[key]
        slot.entry = replace(slot.entry, leases=slot.entry.leases - 1)

    def _tell(self, what: str, entry: PoolEntry) -> None:
        if self._on_change is not None:
            self._on_change(what, entry)


def _shown(key: Hashable) -> str:
    """A key in words a person knows: the part of which model."""
    part, source = getattr(key, "part", None), getattr(key, "source", None)
    if part and source:
        return f"The {part} of {str(source).replace(chr(92), '/').rsplit('/', 1)[-1]}"
    return str(key)
