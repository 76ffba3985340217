"""Company: whether pictures with different adapters are faster in one UNet call than in turns, learnt by measuring.

In one call every layer has a thin term for each row, which costs; in turns the model is called once for each stack, and
its weights are moved in between. Where the one overtakes the other depends on the machine and the model: on a CPU one
call was 1.3 to 1.4 times as fast at latents of 8 × 8 to 16 × 16, and slower from there or from 32 × 32 up. So the first
turns try both ways, and the faster one stays.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from engine.jobs.running import RunningPicture
from engine.pipeline.company import company_key
from engine.pipeline.context import ExecutionKey

# Latent pixels up to which one call is tried first, and beyond which it is not tried at all.
TRIED_FIRST, TRIED_AT_ALL = 16 * 16, 160 * 160
# Measurements of each way before it is judged (their first one pays for what is made ready), and how many are kept.
ENOUGH, KEPT = 3, 7
# One call has to be that much faster: it is the way that shares memory and rounding with strangers.
WORTH = 0.95


@dataclass
class _Measured:
    """Seconds for one evaluation of one picture, the newest last."""

    shared: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    apart: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))


@dataclass(frozen=True)
class Trial:
    """Where the time of an evaluation of so many pictures belongs."""

    measured: deque[float]
    pictures: int


class Company:
    """Puts pictures into groups for the next UNet call, and learns from how long it took."""

    def __init__(self) -> None:
        self._measured: dict[Hashable, _Measured] = {}

    def groups(self, pictures: Sequence[RunningPicture]) -> dict[object, list[RunningPicture]]:
        """Who may go together now: pictures of the same weights always, pictures of other adapters where it pays."""
        groups: dict[object, list[RunningPicture]] = {}
        for picture in pictures:
            groups.setdefault(picture.group_key, []).append(picture)
        if len(groups) < 2:
            return groups
        companies: dict[ExecutionKey, list[object]] = {}
        for key, members in groups.items():
            if not members[0].alone and (shared := company_key(members[0].context)) is not None:
                companies.setdefault(shared, []).append(key)
        for shared, keys in companies.items():
            if len(keys) > 1 and self._prefers(shared, len(keys)):
                groups[shared] = [picture for key in keys for picture in groups.pop(key)]
        return groups

    def trial(self, group: Sequence[RunningPicture], pictures: Sequence[RunningPicture]) -> Trial | None:
        """What the next evaluation of `group` will tell, out of all `pictures` in progress; None: nothing."""
        if group[0].alone or (shared := company_key(group[0].context)) is None:
            return None
        together = len({picture.group_key for picture in group})
        if together > 1:
            return Trial(self._of(shared, together).shared, len(group))
        others = [picture for picture in pictures if not picture.alone and not picture.context.finished]
        stacks = len({picture.group_key for picture in others if company_key(picture.context) == shared})
        return Trial(self._of(shared, stacks).apart, len(group)) if stacks > 1 else None

    def told(self, trial: Trial | None, seconds: float) -> None:
        """How long that evaluation took."""
        if trial is not None:
            trial.measured.append(seconds / trial.pictures)

    def _prefers(self, shared: ExecutionKey, stacks: int) -> bool:
        area = shared.height * shared.width
        if area > TRIED_AT_ALL:
            return False
        measured = self._of(shared, stacks)
        if len(measured.shared) < ENOUGH and len(measured.apart) < ENOUGH:
            return area <= TRIED_FIRST
        if len(measured.shared) < ENOUGH:
            return True
        if len(measured.apart) < ENOUGH:
            return False
        return statistics.median(measured.shared) < WORTH * statistics.median(measured.apart)

    def _of(self, shared: ExecutionKey, stacks: int) -> _Measured:
        return self._measured.setdefault((shared, min(stacks, 4)), _Measured())
