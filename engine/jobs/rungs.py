"""Rungs: how far each job has climbed down after running out of memory; see engine.memory.ladder."""

from __future__ import annotations

from collections.abc import Callable

from engine.memory.ladder import Rung, Stage, Step, next_step
from engine.memory.levels import OptimizationLevel

Largest = Callable[[], tuple[tuple[int, int] | None, int]]


class Rungs:
    """One rung for each job that ran out of memory; forgotten when the job is over."""

    def __init__(self) -> None:
        self._rungs: dict[str, Rung] = {}

    def climb(
        self,
        job_id: str,
        stage: Stage,
        batch: int,
        level: OptimizationLevel,
        largest: Largest = lambda: (None, 0),
    ) -> Step:
        """The next step for a job that ran out of memory with `batch` pictures in one call, under `level`.

        Args:
            largest: what would fit: (size, pictures at once); asked for a refusal only.
        """
        known = self._rungs.get(job_id) or Rung(level=level, batch=batch)
        step = next_step(known, stage=stage, narrower=())
        if step.action == "refuse":
            size, pictures = largest()
            step = next_step(known, stage=stage, narrower=(), largest_size=size, largest_batch=pictures)
        self._rungs[job_id] = step.rung
        return step

    def tiled(self, job_id: str) -> bool | None:
        """Whether its pictures are decoded in tiles; None: as their size wants it."""
        rung = self._rungs.get(job_id)
        return True if rung is not None and rung.tiled else None

    def batch(self, job_id: str, asked: int) -> int:
        """How many of its pictures may be in one call."""
        rung = self._rungs.get(job_id)
        return asked if rung is None else min(asked, rung.batch)

    def forget(self, job_id: str) -> bool:
        """The job is over; whether it had run out of memory."""
        return self._rungs.pop(job_id, None) is not None
