"""Turns: which group of pictures gets the next evaluation, and when changing over is worth what it costs.

Groups with other adapters need other weights, and moving the weights takes time (0.4 to 2 s on SD 1.5 on a CPU). So a
group that was just switched to is served until the switch is a small share of its time; but nobody waits more than
2 seconds, or three evaluations, longer for that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from engine.jobs.schedule import Group, choose_group

# A switch may take one part in twenty of the time between two switches: 0.05 / (1 + 0.05).
SWITCH_SHARE = 0.05
LONGEST_HOLD_SECONDS = 2.0
LONGEST_HOLD_EVALUATIONS = 3


class Turns:
    """Stride scheduling with a memory: who was served how much, and since when the present group is.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._virtual_time: dict[object, float] = {}
        self._present: object = None
        self._since = 0.0
        self._evaluations = 0

    def choose(self, groups: Sequence[Group], switch_seconds: float) -> Group:
        """The group to advance now; its turn is counted.

        Args:
            switch_seconds: what changing to another group's weights costs.
        """
        keys = {group.key for group in groups}
        self._virtual_time = {key: value for key, value in self._virtual_time.items() if key in keys}
        floor = min(self._virtual_time.values(), default=0.0)
        for key in keys:
            self._virtual_time.setdefault(key, floor)
        chosen = self._held(groups, switch_seconds) or choose_group(groups, self._virtual_time)
        if chosen.key != self._present:
            self._present, self._since, self._evaluations = chosen.key, self._clock(), 0
        self._evaluations += 1
        self._virtual_time[chosen.key] += 1.0 / chosen.weight
        return chosen

    def _held(self, groups: Sequence[Group], switch_seconds: float) -> Group | None:
        """The present group, while leaving it would not pay yet."""
        present = next((group for group in groups if group.key == self._present), None)
        if present is None or not switch_seconds:
            return None
        served = self._clock() - self._since
        each = served / self._evaluations if self._evaluations else 0.0
        longest = max(LONGEST_HOLD_SECONDS, LONGEST_HOLD_EVALUATIONS * each)
        return present if served < min(switch_seconds / SWITCH_SHARE, longest) else None
