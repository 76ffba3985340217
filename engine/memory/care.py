"""Care: what is looked after without being asked: quiet times, caches that age, files behind what is loaded."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Any

from engine.errors import StudioError
from engine.library.library import Library
from engine.memory.cache import ByteCache
from engine.memory.file_check import FileCheck
from engine.memory.idle import MINUTE, IdleTimer
from engine.memory.meter import Meter
from engine.memory.pool import ModelPool
from engine.memory.sizes import MIB, in_words
from engine.protocol.memory import CacheView
from engine.settings import MemorySettings


class Care:
    """`attend` is called between the worker's turns, on its thread.

    Args:
        tell: adds a line to the panel's log. report: tells a fault to everybody.
    """

    def __init__(
        self,
        library: Library,
        settings: MemorySettings,
        tell: Callable[[str, str], None],
        report: Callable[[StudioError], None],
    ) -> None:
        self._library, self._settings = library, settings
        self._tell, self._report = tell, report
        self._idle = IdleTimer(settings.idle_minutes, ram=settings.idle_ram)
        self._files = FileCheck(self._loaded, self._hash_of, self._fault, hours=settings.verify_hours)
        self._caches: dict[str, ByteCache[Any]] = {}
        self._pool: ModelPool | None = None
        self._meter: Meter | None = None

    def attach(self, pool: ModelPool, meter: Meter) -> None:
        """Take the worker's pool, and begin to look at its files."""
        self._pool, self._meter = pool, meter
        self._files.start()

    def close(self) -> None:
        """Stop looking."""
        self._files.stop()

    def keep(self, name: str, cache: ByteCache[Any]) -> None:
        """Look after a cache: the settings' limits hold for it, and the panel shows it by `name`."""
        cache.limit(int(self._settings.cache_mb * MIB), self._settings.cache_minutes * MINUTE)
        self._caches[name] = cache

    def loaded(self, key: Hashable) -> None:
        """A part was loaded."""
        self._files.seen(key)

    def attend(self) -> None:
        """Let go of what is too old, and after a quiet time of what need not stay."""
        for cache in self._caches.values():
            cache.expire()
        if self._pool is None or self._meter is None:
            return
        freed = self._idle.attend(self._pool)
        if freed:
            self._meter.release()
            self._tell("released", f"Nothing was painted for a while: {in_words(freed)} were released.")

    def caches(self) -> tuple[CacheView, ...]:
        """How full the caches are, and how often they helped."""
        return tuple(
            CacheView(
                name=name,
                nbytes=cache.nbytes,
                limit=cache.limit_bytes,
                values=len(cache),
                hits=cache.hits,
                misses=cache.misses,
            )
            for name, cache in self._caches.items()
        )

    def _loaded(self) -> Iterable[Hashable]:
        pool = self._pool
        return () if pool is None else [entry.key for entry in (*pool.entries(), *pool.resting()) if entry.nbytes]

    def _hash_of(self, path: Path) -> str | None:
        for model in self._library.models():
            if model.path == path:
                return model.view.hash
        return next((each.view.hash for each in self._library.adapters.entries if each.path == path), None)

    def _fault(self, error: StudioError) -> None:
        self._tell("refused", str(error))
        self._report(error)
