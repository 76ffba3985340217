"""Rungs: how far each job has climbed down after running out of memory; see engine.memory.ladder."""

from __future__ import annotations

from engine.memory.ladder import Rung, Stage, Step, next_step
from engine.memory.levels import OptimizationLevel


class Rungs:
    """One rung for each job that ran out of memory; forgotten when the job is over.

    The level is the memory desk's affair and is set before a job begins, so a job's own ladder starts below it:
    release what nobody uses, decode in tiles, fewer pictures in one call, then a refusal that names what would fit.
    """

    def __init__(self) -> None:
        self._rungs: dict[str, Rung] = {}

    def climb(self, job_id: str, stage: Stage, batch: int) -> Step:
        """The next step for a job that ran out of memory with `batch` pictures in one call."""
        known = self._rungs.get(job_id) or Rung(level=OptimizationLevel.ULTRA, batch=batch)
        step = next_step(known, stage=stage, narrower=())
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

    def forget(self, job_id: str) -> None:
        """The job is over."""
        self._rungs.pop(job_id, None)
