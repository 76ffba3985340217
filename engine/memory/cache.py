"""A cache by bytes and age: least recently used values go first, and none is older than its time to live."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class ByteCache(Generic[V]):
    """Keeps values up to `limit_bytes` together. One thread uses it; its numbers may be read by others.

    Args:
        ttl: seconds after which a value that nobody asked for is gone; 0 keeps it as long as there is room.
        clock: seconds.
    """

    def __init__(self, limit_bytes: int, *, ttl: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._ttl, self._clock = limit_bytes, ttl, clock
        self._values: OrderedDict[Hashable, tuple[V, int, float]] = OrderedDict()
        self._bytes = 0
        self.hits = 0
        self.misses = 0

    def get(self, key: Hashable) -> V | None:
        """The value, which then counts as the most recent; or None."""
        self.expire()
        found = self._values.get(key)
        if found is None:
            self.misses += 1
            return None
        self.hits += 1
        self._values[key] = (found[0], found[1], self._clock())
        self._values.move_to_end(key)
        return found[0]

    def put(self, key: Hashable, value: V, nbytes: int) -> None:
        """Keep a value; one that is larger than the whole cache is not kept."""
        self.expire()
        self.drop(key)
        if nbytes > self._limit:
            return
        self._values[key] = (value, nbytes, self._clock())
        self._bytes += nbytes
        self._shrink()

    def limit(self, limit_bytes: int, ttl: float) -> None:
        """Other limits, live."""
        self._limit, self._ttl = limit_bytes, ttl
        self._shrink()
        self.expire()

    def expire(self) -> None:
        """Let go of what nobody asked for within the time to live."""
        if not self._ttl:
            return
        oldest = self._clock() - self._ttl
        while self._values:
            key, (_, _, asked) = next(iter(self._values.items()))
            if asked >= oldest:
                return
            self.drop(key)

    def drop(self, key: Hashable) -> None:
        """Forget one value."""
        found = self._values.pop(key, None)
        if found is not None:
            self._bytes -= found[1]

    def clear(self) -> None:
        """Forget everything."""
        self._values.clear()
        self._bytes = 0

    @property
    def nbytes(self) -> int:
        """Bytes that are kept now."""
        return self._bytes

    @property
    def limit_bytes(self) -> int:
        """Bytes that may be kept."""
        return self._limit

    def __len__(self) -> int:
        return len(self._values)

    def _shrink(self) -> None:
        while self._bytes > self._limit:
            _, (_, freed, _) = self._values.popitem(last=False)
            self._bytes -= freed
