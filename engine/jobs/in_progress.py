"""InProgress: the pictures that the worker is making now, and what is kept of them."""

from __future__ import annotations

import time
from collections.abc import Iterator

from engine.errors import StudioError
from engine.jobs.previews import Previewer
from engine.jobs.queue import JobQueue
from engine.jobs.running import RunningPicture
from engine.jobs.snapshots import SnapshotStore
from engine.protocol.notices import Notice
from engine.store.store import Store


class InProgress:
    """Pictures between their claim and their file."""

    def __init__(self, store: Store, queue: JobQueue, snapshots: SnapshotStore, previewer: Previewer) -> None:
        self._store, self._queue = store, queue
        self._snapshots, self._previewer = snapshots, previewer
        self._pictures: list[RunningPicture] = []

    def __iter__(self) -> Iterator[RunningPicture]:
        return iter(list(self._pictures))

    def __len__(self) -> int:
        return len(self._pictures)

    def add(self, picture: RunningPicture) -> None:
        """It has begun."""
        self._pictures.append(picture)

    def of_job(self, job_id: str) -> list[RunningPicture]:
        """Those of one job."""
        return [picture for picture in self._pictures if picture.job_id == job_id]

    @property
    def painted(self) -> list[RunningPicture]:
        """Those that only wait to be decoded."""
        return [picture for picture in self._pictures if picture.context.finished]

    @property
    def unpainted(self) -> list[RunningPicture]:
        """Those with steps left."""
        return [picture for picture in self._pictures if not picture.context.finished]

    def keep(self, picture: RunningPicture) -> None:
        """Write a snapshot; a disk that refuses costs only the resume."""
        picture.last_snapshot = time.monotonic()
        try:
            self._snapshots.write(picture.image_id, picture.context.snapshot().to_bytes())
        except StudioError as error:
            self._queue.notice(picture.job_id, Notice(code="setting_unsupported", message=str(error), level="warning"))
        self.count(picture)

    def count(self, picture: RunningPicture) -> None:
        """Store the evaluations that were really run."""
        fresh = picture.context.evaluations_done - picture.counted
        if fresh:
            self._store.jobs.add_evaluations(picture.job_id, picture.index, fresh)
            picture.counted += fresh

    def let_go(self, picture: RunningPicture) -> None:
        """It is over, or goes on later."""
        self._pictures.remove(picture)
        picture.close()
        self._previewer.forget(picture)

    def drop_canceled(self) -> None:
        """Let go of what nobody wants any more."""
        for picture in self:
            if self._queue.is_canceled(picture.job_id, picture.index):
                self.count(picture)
                self.let_go(picture)
                self._snapshots.forget(picture.image_id)
                self._queue.dropped(picture.job_id, picture.index)
