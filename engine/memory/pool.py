"""ModelPool: loaded components under one budget, lent out by leases."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

from engine.errors import ConflictError, OutOfMemoryError
from engine.memory.eviction import (
    EvictionPolicy,
    Order,
    PoolEntry,
    choose_victims,
    least_recently_used,
    order_of,
    used_bytes,
)
from engine.memory.lease import Lease, LoadedModel, PartRequest
from engine.memory.named import NamedModels, too_large
from engine.memory.sizes import GIB

__all__ = ["Lease", "LoadedModel", "ModelPool", "Mover", "PartRequest"]

T = TypeVar("T")
DAY = 86_400.0
_MODEL_BUDGET_GB = 20.0
# A part's uses of the last day; more are as good as that many.
_USES_KEPT = 1000


class Mover(Protocol):
    """Moves a loaded thing between the memory where it computes and the one where it rests (RAM)."""

    def to_rest(self, value: Any) -> Any:
        """The thing, resting."""
        ...

    def to_work(self, value: Any) -> Any:
        """The thing, where it computes."""
        ...


@dataclass
class _Slot:
    value: Any
    entry: PoolEntry
    uses: deque[float] = field(default_factory=lambda: deque(maxlen=_USES_KEPT))


class ModelPool:
    """Keeps what was loaded until the room is needed; what is leased is never evicted.

    One thread uses it (the worker), so there are no locks; `entries()` is a copy that others may read, and `post` takes
    wishes from them, which are granted when the worker uses the pool next.

    Args:
        budget_bytes: how much may stay loaded where models compute.
        max_size_gb: the same in GB of 1024³ bytes; 20.0 where neither is given.
        order: which entry goes first; by `eviction_policy` where it is None.
        on_change: called with "loaded", "evicted", "rested" or "returned" and the entry, for the panel and the log.
        rest_bytes: how much of what was evicted may rest in RAM, from where it comes back sooner than from its file;
            needs a `mover`. 0: none.
        parts_of: what a model that is loaded by name consists of; see `engine.memory.named`.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        budget_bytes: int | None = None,
        *,
        max_size_gb: float | None = None,
        eviction_policy: EvictionPolicy | str = EvictionPolicy.LRU,
        order: Order | None = None,
        on_change: Callable[[str, PoolEntry], None] | None = None,
        rest_bytes: int = 0,
        mover: Mover | None = None,
        parts_of: Callable[[str], Sequence[PartRequest]] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        gigabytes = _MODEL_BUDGET_GB if max_size_gb is None else max_size_gb
        self.budget_bytes = int(gigabytes * GIB) if budget_bytes is None else budget_bytes
        self.rest_bytes = rest_bytes if mover is not None else 0
        self.eviction_policy = EvictionPolicy(eviction_policy)
        self._order = order
        self._on_change = on_change
        self._mover, self._clock_of = mover, clock
        self._slots: dict[Hashable, _Slot] = {}
        self._resting: dict[Hashable, _Slot] = {}
        self._facts: dict[Hashable, dict[str, Any]] = {}
        self._models = NamedModels(self, parts_of, clock)
        self._demand: dict[Hashable, int] = {}
        self._wishes: SimpleQueue[Callable[[ModelPool], None]] = SimpleQueue()
        self._clock = 0
        self.hits = 0
        self.loads = 0
        self.returns = 0
        self.evictions = 0

    # --- lending ---------------------------------------------------------------------------------------------------

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
        self.attend()
        if key in self._slots:
            self.hits += 1
        else:
            back = self._returned(key)
            slot = self._slots[key] = back or self._loaded(key, load, nbytes)
            # Told when it is there, so that whoever hears of it may pin it.
            self._tell("returned" if back else "loaded", slot.entry)
        slot = self._slots[key]
        self._touch(slot)
        slot.entry = replace(slot.entry, leases=slot.entry.leases + 1, pinned=slot.entry.pinned or pin)
        return Lease(key, slot.value, self._release)

    def load(self, model_id: str, **options: Any) -> LoadedModel:
        """A model by its name, loading what is not here; see `NamedModels.load`."""
        return self._models.load(model_id, **options)

    def use(self, model_id: str) -> None:
        """Count a use of a model that was loaded by name."""
        self._models.use(model_id)

    def is_loaded(self, model_id: str) -> bool:
        """Whether all parts of a model that was loaded by name are here."""
        return self._models.is_loaded(model_id)

    def unload(self, model_id: str) -> None:
        """Drop a model that was loaded by name; parts that another one shares, or that are in use, stay."""
        self._models.unload(model_id)

    @property
    def loaded_models(self) -> dict[str, LoadedModel]:
        """Models that were loaded by name and are here."""
        return self._models.loaded

    def touch(self, key: Hashable) -> None:
        """Count a use of a loaded thing."""
        slot = self._slots.get(key)
        if slot is not None:
            self._touch(slot)

    def value_of(self, key: Hashable) -> Any:
        """The thing itself, wherever it lies, without a lease. Raises ConflictError `not_loaded`."""
        slot = self._slots.get(key) or self._resting.get(key)
        if slot is None:
            raise ConflictError("not_loaded", f"{_shown(key)} was evicted meanwhile.", "Load it again.")
        return slot.value

    # --- looking ---------------------------------------------------------------------------------------------------

    def entries(self) -> tuple[PoolEntry, ...]:
        """What is loaded where models compute, least recently used first."""
        return tuple(sorted((self._seen(slot) for slot in list(self._slots.values())), key=least_recently_used))

    def resting(self) -> tuple[PoolEntry, ...]:
        """What rests in RAM beside it, least recently used first."""
        return tuple(sorted((self._seen(slot) for slot in list(self._resting.values())), key=least_recently_used))

    @property
    def used_bytes(self) -> int:
        """Bytes that are loaded now where models compute."""
        return used_bytes(slot.entry for slot in list(self._slots.values()))

    @property
    def resting_bytes(self) -> int:
        """Bytes that rest in RAM."""
        return used_bytes(slot.entry for slot in list(self._resting.values()))

    @property
    def has_rest(self) -> bool:
        """Whether what is evicted can rest in RAM at all."""
        return self._mover is not None

    def _current_size(self) -> float:
        """GB that are loaded now (the name that the acceptance test asks for)."""
        return self.used_bytes / GIB

    def holds(self, key: Hashable) -> bool:
        """Whether the thing is loaded where models compute."""
        return key in self._slots

    def facts(self, key: Hashable) -> dict[str, Any]:
        """What was learnt about a thing and stays true after it is evicted (its decode precision, its preview)."""
        return self._facts.setdefault(key, {})

    # --- deciding --------------------------------------------------------------------------------------------------

    def pin(self, key: Hashable, pinned: bool = True) -> None:
        """Keep a loaded thing whatever comes, or stop doing so."""
        self._change(key, pinned=pinned)

    def warm(self, key: Hashable, warm: bool = True) -> None:
        """Keep a loaded thing rather than others, or stop doing so."""
        self._change(key, warm=warm)

    def expect(self, demand: dict[Hashable, int]) -> None:
        """How many waiting pictures need each thing; replaces what was told before."""
        self._demand = dict(demand)

    def resize(self, budget_bytes: int) -> None:
        """Another budget, live: what no longer fits leaves now, what is in use when it is given back."""
        self.budget_bytes = budget_bytes
        self._shrink()

    def evict(self, key: Hashable, *, rest: bool = True) -> bool:
        """Drop a thing that nobody uses, or let it rest in RAM where there is room. Returns whether it left."""
        slot = self._slots.get(key)
        if slot is None:
            return self._resting.pop(key, None) is not None
        if slot.entry.leases:
            return False
        del self._slots[key]
        self.evictions += 1
        if not (rest and self._rested(key, slot)):
            self._tell("evicted", slot.entry)
        return True

    def evict_unused(self, key: Hashable) -> None:
        """Drop a thing on someone's request. Raises ConflictError `in_use`."""
        if key in self._slots and not self.evict(key, rest=False):
            raise ConflictError("in_use", f"{_shown(key)} is in use and stays.", "Wait for the running pictures.")

    def clear(self) -> int:
        """Drop everything that is neither leased nor pinned, in RAM too; returns how many bytes that were."""
        before = self.used_bytes + self.resting_bytes
        for entry in self.entries():
            if not entry.pinned:
                self.evict(entry.key, rest=False)
        self._resting.clear()
        return before - self.used_bytes

    # --- wishes of other threads -----------------------------------------------------------------------------------

    def post(self, wish: Callable[[ModelPool], None]) -> None:
        """Ask for something from another thread; it is done when the worker's thread uses the pool next."""
        self._wishes.put(wish)

    def attend(self) -> int:
        """Grant what was asked for, on the worker's thread; returns how much that was."""
        granted = 0
        while True:
            try:
                wish = self._wishes.get_nowait()
            except Empty:
                return granted
            wish(self)
            granted += 1

    # --- inside ----------------------------------------------------------------------------------------------------

    def _loaded(self, key: Hashable, load: Callable[[], T], nbytes: int | Callable[[T], int]) -> _Slot:
        if isinstance(nbytes, int):
            self._make_room(key, nbytes)
        value = load()
        size = nbytes if isinstance(nbytes, int) else nbytes(value)
        self._make_room(key, size)
        slot = _Slot(value, PoolEntry(key, size, dtype=_dtype_of(value), device=_device_of(value)))
        self.loads += 1
        return slot

    def _rested(self, key: Hashable, slot: _Slot) -> bool:
        """Let an evicted thing rest in RAM; False where it does not fit there either."""
        if self._mover is None or slot.entry.nbytes > self.rest_bytes:
            return False
        victims = choose_victims(self.resting(), slot.entry.nbytes, self.rest_bytes, self._by())
        if victims is None:
            return False
        for victim in victims:
            self._tell("evicted", self._resting.pop(victim).entry)
        slot.value = self._mover.to_rest(slot.value)
        self._resting[key] = slot
        self._tell("rested", slot.entry)
        return True

    def _returned(self, key: Hashable) -> _Slot | None:
        """A thing that rests, moved back to where it computes; None where it does not rest."""
        slot = self._resting.get(key)
        if slot is None or self._mover is None:
            return None
        # Out of the shelf first: making room may fill it up with others.
        del self._resting[key]
        try:
            self._make_room(key, slot.entry.nbytes)
        except OutOfMemoryError:
            self._resting[key] = slot
            raise
        slot.value = self._mover.to_work(slot.value)
        self.returns += 1
        return slot

    def _make_room(self, key: Hashable, need: int) -> None:
        if need > self.budget_bytes:
            raise too_large(_shown(key), need, self.budget_bytes)
        victims = choose_victims(self.entries(), need, self.budget_bytes, self._by())
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
        if self.used_bytes > self.budget_bytes:
            self._shrink()

    def _shrink(self) -> None:
        for entry in sorted((e for e in self.entries() if not e.leases and not e.pinned), key=self._by()):
            if self.used_bytes <= self.budget_bytes:
                return
            self.evict(entry.key)

    def _touch(self, slot: _Slot) -> None:
        self._clock += 1
        now = self._clock_of()
        slot.uses.append(now)
        slot.entry = replace(slot.entry, last_used=self._clock, uses=slot.entry.uses + 1, used_at=now)

    def _seen(self, slot: _Slot) -> PoolEntry:
        """The entry with what changes by itself: the uses of the last day, and the queue's demand."""
        since = self._clock_of() - DAY
        recent = sum(1 for at in tuple(slot.uses) if at >= since)
        return replace(slot.entry, uses_24h=recent, queued=self._demand.get(slot.entry.key, 0))

    def _by(self) -> Order:
        return self._order or order_of(self.eviction_policy, self._clock_of())

    def _change(self, key: Hashable, **fields: bool) -> None:
        slot = self._slots.get(key) or self._resting.get(key)
        if slot is not None:
            slot.entry = replace(slot.entry, **fields)  # type: ignore[arg-type]

    def _tell(self, what: str, entry: PoolEntry) -> None:
        if self._on_change is not None:
            self._on_change(what, entry)


def _dtype_of(value: Any) -> str:
    dtype = getattr(value, "dtype", None)
    return "" if dtype is None else str(dtype).removeprefix("torch.")


def _device_of(value: Any) -> str:
    device = getattr(value, "device", None)
    return "" if device is None else str(device)


def _shown(key: Hashable) -> str:
    """A key in words a person knows: the part of which model."""
    part, source = getattr(key, "part", None), getattr(key, "source", None)
    if part and source:
        return f"The {part} of {str(source).replace(chr(92), '/').rsplit('/', 1)[-1]}"
    return str(key)
