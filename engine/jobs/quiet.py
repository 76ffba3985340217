"""QuietTime: what the worker does when nobody wants anything: rest, measure the rest, load what will be asked for."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from engine.errors import StudioError
from engine.jobs.workbench import Workbench
from engine.library.library import Library
from engine.memory.desk import MemoryDesk

log = logging.getLogger("easel.worker")

# Pictures often follow each other within a second or two.
QUIET_SECONDS = 3.0


class QuietTime:
    """Begins some seconds after the last work; everything in it happens once, one thing a turn, so that a job that
    comes in between waits for one of them at most."""

    def __init__(
        self, desk: MemoryDesk, bench: Workbench, library: Library, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._desk, self._bench, self._library, self._clock = desk, bench, library, clock
        self._since: float | None = None
        self._rested = False
        self._ahead: list[str] | None = None

    def ended(self) -> None:
        """There is work."""
        self._since, self._rested, self._ahead = None, False, None

    def look(self) -> None:
        """There is no work, again."""
        now = self._clock()
        if self._since is None:
            self._since = now
        if now - self._since < QUIET_SECONDS:
            return
        if not self._rested:
            self._rested = True
            self._bench.clean_up()
            self._desk.rested()
        elif self._ahead is None:
            self._ahead = self._desk.preloads({}, quiet=True)
        elif self._ahead:
            self._load(self._ahead.pop(0))

    def _load(self, model: str) -> None:
        try:
            entry = self._library.find_model(model)
            self._bench.load_ahead(entry)
            self._desk.tell("loaded", f"{entry.view.title} was loaded ahead: it is often asked for at this time.")
        except StudioError as error:
            # Nobody asked for it; whoever does is told.
            log.warning("%s was not loaded ahead: %s", model, error)
