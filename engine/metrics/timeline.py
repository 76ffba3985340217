"""Timeline: when a job was in which stage.

The stages of many jobs interleave on one thread (a tick serves several pictures), so a stage is entered and left many
times; spans that follow each other in the same stage are joined, and a job of a thousand steps keeps few of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class StageSpan:
    """`start` and `end` in seconds since the timer began; `busy` of them were spent in the stage, in `count` visits."""

    stage: str
    start: float
    end: float
    busy: float
    count: int = 1


class StageTimer:
    """Collects the stage spans of one job. Not shared between threads.

    `clock` counts seconds and never goes back; `on_stage(stage, seconds)` hears of each visit (`Metrics.stage_took`).
    """

    def __init__(
        self, clock: Callable[[], float] = time.perf_counter, on_stage: Callable[[str, float], None] | None = None
    ) -> None:
        self._clock, self._on_stage = clock, on_stage
        self._began = clock()
        self._spans: list[StageSpan] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside; a visit that fails counts too."""
        start = self._clock() - self._began
        try:
            yield
        finally:
            self.add(name, start, self._clock() - self._began)

    def add(self, name: str, start: float, end: float) -> None:
        """Enter a visit that was timed elsewhere; seconds since the timer began."""
        last = self._spans[-1] if self._spans else None
        if last is not None and last.stage == name:
            self._spans[-1] = StageSpan(name, last.start, end, last.busy + end - start, last.count + 1)
        else:
            self._spans.append(StageSpan(name, start, end, end - start))
        if self._on_stage is not None:
            self._on_stage(name, end - start)

    @property
    def spans(self) -> tuple[StageSpan, ...]:
        """Spans in the order in which they ended; an inner stage comes before the one around it."""
        return tuple(self._spans)

    def totals(self) -> dict[str, float]:
        """Busy seconds by stage, in the order of first appearance."""
        sums: dict[str, float] = {}
        for span in self._spans:
            sums[span.stage] = sums.get(span.stage, 0.0) + span.busy
        return sums

    def elapsed(self) -> float:
        """Seconds since the timer began."""
        return self._clock() - self._began
