"""Models by name: what one consists of is asked of someone else; its parts lie in the pool, shared with others."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

from engine.errors import OutOfMemoryError
from engine.memory.lease import Lease, LoadedModel, PartRequest
from engine.memory.sizes import GIB

if TYPE_CHECKING:
    from engine.memory.pool import ModelPool

PartsOf = Callable[..., Sequence[PartRequest]]


class NamedModels:
    """The pool's models by name. `parts_of(name, **options)` says what a model consists of."""

    def __init__(self, pool: ModelPool, parts_of: PartsOf | None, clock: Callable[[], float]) -> None:
        self._pool, self._parts_of, self._clock = pool, parts_of, clock
        self._models: dict[str, LoadedModel] = {}

    def load(self, name: str, **options: Any) -> LoadedModel:
        """A model, loading what is not here and evicting what must go. It is not leased: a use keeps it young.

        Parts that several models share are loaded and counted once.

        Raises:
            OutOfMemoryError: as `ModelPool.lease`; what was loaded of the model until then stays evictable.
        """
        if self._parts_of is None:
            raise AssertionError("this pool was not told what models consist of (parts_of)")
        parts = list(self._parts_of(name, **options))
        total = sum(part.nbytes for part in parts)
        if total > self._pool.budget_bytes:
            raise too_large(name, total, self._pool.budget_bytes)
        fresh = any(not self._pool.holds(part.key) for part in parts)
        leases: list[Lease[Any]] = []
        try:
            for part in parts:
                leases.append(self._pool.lease(part.key, part.load, part.nbytes))
        finally:
            for lease in leases:
                lease.close()
        known = self._models.get(name)
        if known is None or fresh:
            held = _Held(self._pool, [part.key for part in parts])
            known = LoadedModel(name, held, total / GIB, self._clock(), lambda: self.use(name))
            self._models[name] = known
        return known

    def use(self, name: str) -> None:
        """Count a use of all its parts."""
        handle = self._models.get(name)
        for key in handle.parts if handle is not None else ():
            self._pool.touch(key)

    def is_loaded(self, name: str) -> bool:
        """Whether all its parts are here."""
        handle = self._models.get(name)
        return handle is not None and all(self._pool.holds(key) for key in handle.parts)

    def unload(self, name: str) -> None:
        """Drop it; parts that another loaded model shares, or that are in use, stay."""
        handle = self._models.pop(name, None)
        shared = {key for other in self.loaded.values() for key in other.parts}
        for key in list(handle.parts) if handle is not None else ():
            if key not in shared:
                self._pool.evict(key, rest=False)

    @property
    def loaded(self) -> dict[str, LoadedModel]:
        """Those that are here."""
        return {name: handle for name, handle in self._models.items() if self.is_loaded(name)}


class _Held(dict[Hashable, Any]):
    """The parts of a model by key, looked up when asked for: a handle must not keep alive what the pool evicts."""

    def __init__(self, pool: ModelPool, keys: Sequence[Hashable]) -> None:
        super().__init__(dict.fromkeys(keys))
        self._pool = pool

    def __getitem__(self, key: Hashable) -> Any:
        return self._pool.value_of(key)

    def values(self) -> Any:
        return [self[key] for key in self]


def too_large(what: Hashable, need: int, budget: int) -> OutOfMemoryError:
    """The refusal of what cannot fit even alone."""
    return OutOfMemoryError(
        "model_larger_than_budget",
        f"{what} needs {need / GIB:.1f} GB, and the memory budget is {budget / GIB:.1f} GB.",
        "Raise [memory] pool_gb in config.toml, or choose a smaller model.",
    )
