"""Idle: after a quiet time nothing that is not pinned stays on the GPU."""

from __future__ import annotations

import time
from collections.abc import Callable

from engine.memory.pool import ModelPool

MINUTE = 60.0


class IdleTimer:
    """Asked between the worker's turns, on its thread.

    Args:
        minutes: of quiet, after which loaded parts leave; 0 never lets them go.
        ram: whether they leave RAM too; otherwise they rest there, where there is a GPU, and stay, where there is none.
        clock: seconds.
    """

    def __init__(self, minutes: float, *, ram: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._ram, self._clock = minutes * MINUTE, ram, clock
        self._since = clock()
        self._uses = 0
        self._done = False

    def attend(self, pool: ModelPool) -> int:
        """Look whether it has been quiet for long enough; returns the bytes that left then, 0 otherwise."""
        entries = pool.entries()
        uses = pool.hits + pool.loads + pool.returns
        if uses != self._uses or any(entry.leases for entry in entries):
            self._since, self._uses, self._done = self._clock(), uses, False
            return 0
        if self._done or not self._seconds or self._clock() - self._since < self._seconds:
            return 0
        self._done = True
        if not (self._ram or pool.rest_bytes):
            return 0
        before = pool.used_bytes + (pool.resting_bytes if self._ram else 0)
        if self._ram:
            pool.clear()
        else:
            for entry in entries:
                if not entry.pinned:
                    pool.evict(entry.key)
        return before - pool.used_bytes - (pool.resting_bytes if self._ram else 0)
