"""Recovery: what the engine does first, so that no crash loses or doubles a picture."""

from __future__ import annotations

from pathlib import Path

from engine.errors import GenerationError
from engine.images.formats import media_type
from engine.images.scan import read_image_file
from engine.jobs.snapshots import SnapshotStore
from engine.protocol.jobs import ErrorView
from engine.protocol.notices import Notice
from engine.store.jobs import JobRecord, TaskRecord
from engine.store.store import Store

MAX_ATTEMPTS = 3


def recover(store: Store, snapshots: SnapshotStore, outputs: Path) -> int:
    """Set unfinished jobs back to queued; adopt files whose row is missing; give up on jobs that kill the engine.

    Returns the number of jobs that go on. Called once, before the worker starts.
    """
    wanted: list[str] = []
    going_on = 0
    for job in store.jobs.unfinished():
        if job.status == "running" and store.jobs.count_attempt(job.id) >= MAX_ATTEMPTS:
            _give_up(store, job)
            continue
        left = [task for task in job.tasks if not _settled(store, job, task, outputs)]
        if not left:
            made = any(task.status == "done" for task in store.jobs.get(job.id).tasks)
            store.jobs.finish(job.id, "done" if made else "canceled", None)
            continue
        for task in left:
            if task.status == "running":
                store.jobs.set_task(job.id, task.index, status="queued")
            wanted.append(task.image_id)
        if job.status == "running":
            going_on += 1
    snapshots.keep_only(wanted)
    return going_on


def _settled(store: Store, job: JobRecord, task: TaskRecord, outputs: Path) -> bool:
    """Whether the picture needs nothing more; a finished file without a row gets its row here."""
    if task.status not in ("queued", "running"):
        return True
    if task.file_name is None:
        return False
    view = read_image_file(outputs / task.file_name)
    if view is None or view.id != task.image_id:
        return False
    store.history.record(view, media_type=media_type(view.name), owner=job.owner)
    return True


def _give_up(store: Store, job: JobRecord) -> None:
    error = GenerationError(
        "job_gave_up",
        f"The engine stopped {MAX_ATTEMPTS} times while it made this job, so it was set aside.",
        "Try fewer or smaller pictures, or another model; the engine's log says more.",
    )
    for task in job.tasks:
        if task.status in ("queued", "running"):
            store.jobs.set_task(job.id, task.index, status="failed")
    store.jobs.finish(job.id, "failed", ErrorView(code=error.code, message=error.message, hint=error.hint))


def resumed_notice(evaluations: int, total: int) -> Notice:
    """Tell that a picture went on from its snapshot."""
    return Notice(
        code="resumed",
        message=f"The picture was interrupted; it went on from {evaluations} of {total} evaluations.",
    )
