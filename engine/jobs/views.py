"""JobView out of the database's record, the board's progress, and the pictures that are saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.jobs.board import Board
from engine.protocol.jobs import FINISHED, ImageView, JobView, Progress
from engine.store.jobs import JobRecord
from engine.store.store import Store


class JobViews:
    """Builds views; `positions` come from whoever orders the queue."""

    def __init__(self, store: Store, board: Board) -> None:
        self._store = store
        self._board = board

    def view(self, record: JobRecord, positions: Mapping[str, int]) -> JobView:
        """The job as its owner sees it."""
        images = self._store.history.for_job(record.id)
        return JobView(
            id=record.id,
            owner=record.owner,
            kind=record.kind,
            status=record.status,
            spec=record.spec,
            progress=self._progress(record, images),
            position=positions.get(record.id) if record.status == "queued" else None,
            images=tuple(images),
            notices=record.notices,
            error=record.error,
            created_at=record.created_at,
            started_at=record.started_at,
            finished_at=record.finished_at,
            evaluations=record.evaluations,
            attempts=record.attempts,
        )

    def _progress(self, record: JobRecord, images: Sequence[ImageView]) -> Progress:
        if record.status in FINISHED:
            return Progress(stage="finished", fraction=1.0, images_done=len(images))
        return self._board.progress(record.id) or Progress(images_done=len(images), steps=record.spec.steps or 0)
