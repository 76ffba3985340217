"""Board: what is known of jobs in progress beyond the database: stage, step, time left."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace

from engine.protocol.jobs import Progress, Stage

# A step of a small model takes 30 ms; telling each of them costs both processes more than it shows anybody.
TELL_SECONDS = 0.1


@dataclass(frozen=True)
class PictureProgress:
    """One picture of a job: evaluations done and in all; `step` of `steps` as the person asked for them."""

    stage: Stage = "waiting"
    step: int = 0
    steps: int = 0
    done: int = 0
    total: int = 0


@dataclass
class _JobLine:
    pictures: dict[int, PictureProgress]
    started: float = 0.0
    # Evaluations that were already there at the start (resumed): they took none of the elapsed time.
    head_start: int = 0
    saved: int = 0
    count: int = 1
    # What was told last of this job, and when.
    told: Stage = "waiting"
    told_at: float = 0.0


class Board:
    """Written by the worker, read by every thread that shows a job."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[str, _JobLine] = {}

    def open(self, job_id: str, *, count: int, saved: int) -> None:
        """A job starts: `count` pictures, of which `saved` are on the disk already."""
        with self._lock:
            if job_id not in self._jobs:
                self._jobs[job_id] = _JobLine({}, started=time.monotonic(), saved=saved, count=count)

    def picture(self, job_id: str, index: int, **changes: object) -> Progress | None:
        """A picture moved; the job's progress if it is time to tell it: at a new stage, or after `TELL_SECONDS`."""
        now = time.monotonic()
        with self._lock:
            line = self._jobs[job_id]
            before = line.pictures.get(index, PictureProgress())
            line.pictures[index] = replace(before, **changes)  # type: ignore[arg-type]
            progress = _progress(line)
            if progress.stage == line.told and now - line.told_at < TELL_SECONDS:
                return None
            line.told, line.told_at = progress.stage, now
            return progress

    def resumed(self, job_id: str, evaluations: int) -> None:
        """`evaluations` were done before the job was opened."""
        with self._lock:
            self._jobs[job_id].head_start += evaluations

    def saved(self, job_id: str, index: int) -> Progress:
        """A picture is on the disk."""
        with self._lock:
            line = self._jobs[job_id]
            line.saved += 1
            before = line.pictures.get(index, PictureProgress())
            line.pictures[index] = replace(before, stage="finished", done=before.total)
            return _progress(line)

    def drop(self, job_id: str, index: int) -> None:
        """A picture will not be made."""
        with self._lock:
            line = self._jobs.get(job_id)
            if line is not None:
                line.pictures.pop(index, None)
                line.count = max(1, line.count - 1)

    def progress(self, job_id: str) -> Progress | None:
        """The job's progress, None while it is not open."""
        with self._lock:
            line = self._jobs.get(job_id)
            return _progress(line) if line is not None else None

    def close(self, job_id: str) -> None:
        """The job is finished."""
        with self._lock:
            self._jobs.pop(job_id, None)


def _progress(line: _JobLine) -> Progress:
    running = [p for p in line.pictures.values() if p.stage not in ("finished", "waiting")]
    behind = min(running, key=lambda p: p.done / max(p.total, 1), default=PictureProgress())
    total = max((p.total for p in line.pictures.values()), default=0)
    finished_earlier = line.saved - sum(1 for p in line.pictures.values() if p.stage == "finished")
    done = sum(p.done for p in line.pictures.values()) + finished_earlier * total
    whole = line.count * total
    fraction = min(1.0, done / whole) if whole else 0.0
    return Progress(
        stage=behind.stage,
        fraction=fraction,
        step=behind.step,
        steps=behind.steps,
        images_done=line.saved,
        eta_seconds=_eta(line, done - finished_earlier * total, whole - done),
    )


def _eta(line: _JobLine, done: int, left: int) -> float | None:
    """Seconds left at the pace so far; None until two evaluations have been timed."""
    timed = done - line.head_start
    if timed < 2:
        return None
    return (time.monotonic() - line.started) / timed * left
