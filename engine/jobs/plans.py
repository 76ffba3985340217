"""Plans: forecasts that were just made, for whoever asks again."""

from __future__ import annotations

import time
from collections.abc import Callable

from engine.library.entries import ModelEntry
from engine.memory.desk import MemoryDesk
from engine.memory.levels import OptimizationLevel
from engine.memory.plan import Plan, Work

# A plan holds so long: what else the machine does changes what is free. Planning takes 2 ms, a picture must not.
PLAN_SECONDS = 30.0
_KEPT = 200


class Plans:
    """Asked on any thread.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, desk: MemoryDesk, clock: Callable[[], float] = time.monotonic) -> None:
        self._desk, self._clock = desk, clock
        self._known: dict[object, tuple[Plan, float]] = {}

    def of(self, entry: ModelEntry, work: Work, level: OptimizationLevel | None) -> Plan:
        """The plan of a work under a level, None for the chosen one. Raises ModelFileError."""
        key, now = (entry.view.id, str(entry.stamp), work, level), self._clock()
        known = self._known.get(key)
        if known is None or now - known[1] > PLAN_SECONDS:
            if len(self._known) > _KEPT:
                self._known.clear()
            known = self._known[key] = (self._desk.plan(entry, work, level=level), now)
        return known[0]

    def forget(self) -> None:
        """The machine is another one now."""
        self._known.clear()
