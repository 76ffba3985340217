"""Pins: what is kept loaded, as the store remembers it from one start to the next."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from engine.errors import OutOfMemoryError, StudioError
from engine.memory.eviction import PoolEntry
from engine.memory.pool import ModelPool
from engine.memory.sizes import in_words
from engine.memory.views import key_text, title_of
from engine.store.memory import MemoryStore, PoolRow

log = logging.getLogger("easel.memory")


class Pins:
    """Pinned and warm parts by the digest of their key."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        rows = store.pool()
        self._pinned = {row.key for row in rows if row.pinned}
        self._warm = {row.key for row in rows if row.warm}

    def restore(self, pool: ModelPool, entry: PoolEntry) -> None:
        """A part was loaded: it is again what it was; on the worker's thread."""
        key = key_text(entry.key)
        if key in self._pinned:
            pool.pin(entry.key)
        if key in self._warm:
            pool.warm(entry.key)

    def mark(self, entry: PoolEntry, *, pinned: bool, warm: bool = False) -> None:
        """Remember what a part is from now on."""
        key = key_text(entry.key)
        for keys, on in ((self._pinned, pinned), (self._warm, warm)):
            (keys.add if on else keys.discard)(key)
        self._store.mark(self._row(entry))

    def save(self, entries: Iterable[PoolEntry]) -> None:
        """Keep what the pool holds; a disk that refuses costs only the warm start."""
        try:
            self._store.save_pool([self._row(entry) for entry in entries if entry.nbytes])
        except StudioError:
            log.exception("the pool's state could not be kept")

    def _row(self, entry: PoolEntry) -> PoolRow:
        key = key_text(entry.key)
        return PoolRow(
            key,
            title_of(entry.key),
            str(getattr(entry.key, "part", "")),
            entry.nbytes,
            pinned=key in self._pinned,
            warm=key in self._warm,
            uses=entry.uses,
            used_at=entry.used_at,
            loaded=True,
        )


def check_pins(entries: Iterable[PoolEntry], budget: int, nbytes: int, name: str, besides: str = "") -> None:
    """Refuse to pin more than fits.

    Args:
        nbytes: of what is to be pinned; the part whose key has the digest `besides` is not counted twice.

    Raises:
        OutOfMemoryError: `pins_larger_than_budget`.
    """
    pinned = sum(entry.nbytes for entry in entries if entry.pinned and key_text(entry.key) != besides)
    if pinned + nbytes > budget:
        raise OutOfMemoryError(
            "pins_larger_than_budget",
            f"{name} needs {in_words(nbytes)}, and {in_words(pinned)} of the pool's {in_words(budget)} are pinned.",
            "Unpin something first, or give the pool more memory.",
        )
