"""Mending: what follows a fault of a job: another try, with less where memory ran out, or its end."""

from __future__ import annotations

from collections.abc import Sequence

from engine.errors import OutOfMemoryError, StudioError
from engine.jobs.faults import BACKOFF_SECONDS, MAX_TRIES, is_transient
from engine.jobs.in_progress import InProgress
from engine.jobs.levels import LevelKeeper
from engine.jobs.queue import Claim, JobQueue
from engine.jobs.rungs import Rungs
from engine.jobs.running import RunningPicture
from engine.jobs.workbench import Workbench
from engine.memory.ladder import Stage
from engine.protocol.notices import Notice


class Mending:
    """Knows which jobs are in trouble, and how far each has come down."""

    def __init__(self, queue: JobQueue, bench: Workbench, pictures: InProgress, levels: LevelKeeper) -> None:
        self._queue, self._bench = queue, bench
        self._pictures, self._levels = pictures, levels
        self._rungs = Rungs()
        self._tries: dict[str, int] = {}

    def failed_before(self, job_id: str) -> bool:
        """Whether the job has failed and is being tried again: then it is tried alone."""
        return job_id in self._tries

    def batch(self, job_id: str, asked: int) -> int:
        """How many of the job's pictures may be in one call."""
        return self._rungs.batch(job_id, asked)

    def tiled(self, pictures: Sequence[RunningPicture]) -> bool | None:
        """Whether to decode in tiles; None: as the size wants it."""
        return next((True for picture in pictures if self._rungs.tiled(picture.job_id)), None)

    def well(self, job_id: str) -> None:
        """A picture of the job was made."""
        trouble = self._tries.pop(job_id, None) is not None
        if not (self._rungs.forget(job_id) or trouble):
            self._levels.went_well()

    def fault(self, claims: Sequence[Claim], error: StudioError, stage: Stage) -> None:
        """What was done is kept; the job is queued again, or ends with the error."""
        together = [picture for picture in self._pictures if picture.claim in claims]
        if len({picture.job_id for picture in together}) > 1:
            # Whose fault it was shows when each goes on alone.
            for picture in together:
                picture.alone = True
            return
        for job_id in {claim.job.id for claim in claims}:
            for picture in self._pictures.of_job(job_id):
                self._pictures.keep(picture)
                self._pictures.let_go(picture)
            self._bench.release_memory()
            if isinstance(error, OutOfMemoryError) and error.code == "out_of_memory":
                self._step_down(claims[0], stage, max(1, len(together)))
                continue
            tries = self._tries.get(job_id, 0) + 1
            self._tries[job_id] = tries
            if is_transient(error) and tries < MAX_TRIES:
                self._queue.notice(
                    job_id, Notice(code="retried", message=f"{error.message} Trying again.", level="warning")
                )
                self._queue.retry(job_id, BACKOFF_SECONDS[tries - 1])
            else:
                self._tries.pop(job_id, None)
                self._queue.fail(job_id, error)

    def _step_down(self, claim: Claim, stage: Stage, batch: int) -> None:
        """After running out of memory: the job goes on from its last step with less, or ends with what would fit."""
        job_id = claim.job.id
        step = self._rungs.climb(job_id, stage, batch, self._levels.level, lambda: self._levels.largest(claim.job.spec))
        self._levels.ran_out(step.rung.level)
        self._bench.release_all()
        if step.error is not None:
            self._rungs.forget(job_id)
            self._queue.fail(job_id, step.error)
            return
        if step.notice is not None:
            self._queue.notice(job_id, step.notice)
        self._queue.retry(job_id, 0.0)
