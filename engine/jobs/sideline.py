"""Sideline: the errand that is in progress beside the pictures, one step a turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from engine.errors import GenerationError
from engine.jobs.errands import Errand, RunningErrand
from engine.jobs.pulse import Pulse
from engine.jobs.queue import Claim, JobQueue

# One step of an errand: a large picture enlarged on a slow CPU, a module of a merge.
ERRAND_ALLOWANCE = 600.0

Guard = Callable[[Sequence[Claim], Callable[[], None]], bool]


class Sideline:
    """At most one errand at a time.

    Args:
        guard: runs an act for claims; a fault ends or delays their jobs, never the worker.
        progress: tells how far a job's picture is: job id, owner, index and what has changed.
    """

    def __init__(
        self,
        queue: JobQueue,
        errands: Iterable[Errand],
        pulse: Pulse,
        guard: Guard,
        progress: Callable[..., None],
    ) -> None:
        self._queue, self._pulse = queue, pulse
        self._errands = {errand.kind: errand for errand in errands}
        self._guard, self._progress = guard, progress
        self._present: RunningErrand | None = None

    @property
    def busy(self) -> bool:
        """Whether an errand is in progress."""
        return self._present is not None

    def begin(self, claim: Claim) -> None:
        """Start what a claimed job asks for."""

        def begin_it() -> None:
            errand = self._errands.get(claim.job.kind)
            if errand is None:
                raise GenerationError(
                    "generation_failed", f"This Easel does not know jobs of kind {claim.job.kind}.", ""
                )
            self._present = RunningErrand(claim, errand)

        self._guard([claim], begin_it)

    def advance(self) -> None:
        """One step, if there is an errand; whatever happens, it is let go of when it is over."""
        errand = self._present
        if errand is None:
            return
        running, over = errand.running, True
        job_id, index = running.job_id, running.index

        def step() -> None:
            nonlocal over
            with self._pulse.allow(ERRAND_ALLOWANCE):
                done = errand.advance()
            if done is None:
                self._queue.saved(job_id, index)
            else:
                over = False
                told: dict[str, Any] = {"stage": done.stage, "done": int(done.fraction * 100), "total": 100}
                self._progress(job_id, running.owner, index, **told)

        if self._queue.is_canceled(job_id, index):
            self._queue.dropped(job_id, index)
        else:
            self._guard([running.claim], step)
        if over:
            self.close()

    def close(self) -> None:
        """Let go of it, done or not."""
        if self._present is not None:
            self._present.close()
            self._present = None
