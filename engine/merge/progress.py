"""How far a run is and how long it still takes, told from the work done so far."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from engine.protocol.merge_reports import MergeProgress

_SURE_AFTER = 1.5


class Pace:
    """Counts work in numbers of weights, because layers differ a thousandfold.

    Args:
        work: name → its share of the work, in any unit.
    """

    def __init__(self, stage: str, work: Mapping[str, float] | Iterable[tuple[str, float]]) -> None:
        self._stage = stage
        self._work = dict(work)
        self._total = sum(self._work.values()) or 1.0
        self._done = 0.0
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._began

    def done(self, name: str) -> MergeProgress:
        """The progress after this piece."""
        self._done += self._work.get(name, 0.0)
        fraction = min(self._done / self._total, 1.0)
        left = None
        if fraction > 0 and self.seconds > _SURE_AFTER:
            left = self.seconds * (1.0 - fraction) / fraction
        # The last hundredth is for closing and checking the file.
        return MergeProgress(fraction=fraction * 0.99, stage=self._stage, module=name, seconds_left=left)
