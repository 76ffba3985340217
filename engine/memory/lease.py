"""Leases: the right to use a loaded thing, and the handle to a model that was loaded by name."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Generic, TypeVar

from engine.memory.sizes import GIB

T = TypeVar("T")


class Lease(Generic[T]):
    """The right to use a loaded thing; while it is held, the thing stays. Closing twice does nothing."""

    def __init__(self, key: Hashable, value: T, release: Callable[[Hashable], None]) -> None:
        self.key = key
        self._value: T | None = value
        self._release = release

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
            self._release(self.key)

    def __enter__(self) -> T:
        return self.value

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True)
class PartRequest:
    """A part of a model that is loaded by name: its key in the pool, what loads it, its size in bytes."""

    key: Hashable
    load: Callable[[], Any]
    nbytes: int


@dataclass
class LoadedModel:
    """A model that was loaded by name. It is a handle, not a lease: the pool may evict what nobody leases.

    Attributes:
        parts: the loaded parts by key; a model of one part has one.
        size_gb: of all parts together, in GB. loaded_at: seconds since the epoch.
    """

    name: str
    parts: Mapping[Hashable, Any]
    size_gb: float
    loaded_at: float
    touch: Callable[[], None] = field(default=lambda: None, repr=False)

    @property
    def model(self) -> Any:
        """The thing itself (of several parts: the mapping); asking for it counts as a use."""
        self.touch()
        values = list(self.parts.values())
        return values[0] if len(values) == 1 else self.parts

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return int(self.size_gb * GIB)
