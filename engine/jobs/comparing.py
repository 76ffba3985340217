"""ComparisonErrand: the pictures of a comparison painted as jobs of the queue, then one grid and its numbers."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from engine.errors import ConflictError, GenerationError
from engine.images.grid import labelled_grid
from engine.jobs.admission import Admission
from engine.jobs.errands import ErrandStep
from engine.jobs.finishing import Finisher
from engine.jobs.queue import JobQueue
from engine.jobs.running import Running
from engine.protocol.comparisons import ComparedRow, ComparisonPlan, ComparisonReport, RowNumbers, SideEffect
from engine.protocol.specs import GenerationSpec
from engine.store.store import Store

# Pictures that wait at the same time: enough to be painted together, few enough that others come in between.
_AT_ONCE = 4
_PATIENCE = 0.02
_DRAWN: Literal["denoising"] = "denoising"


class ComparisonErrand:
    """The payload has `plan` and `merge_id`; `report` comes to it at the end. The grid is the job's picture.

    Each cell is a job of its own, submitted under a name that a second run finds again: after a crash nothing is
    painted twice. Canceling cancels the cells that are not painted yet; those that are stay in the history.

    Args:
        admission: checks a cell's spec, as of every job. outputs: the folder of pictures.
    """

    kind = "comparison"

    def __init__(self, store: Store, queue: JobQueue, admission: Admission, finisher: Finisher, outputs: Path) -> None:
        self._store, self._queue, self._admission = store, queue, admission
        self._finisher, self._outputs = finisher, outputs

    def run(self, running: Running) -> Iterator[ErrandStep]:
        """See `Errand`."""
        payload: dict[str, Any] = dict(running.claim.job.payload or {})
        plan = ComparisonPlan.model_validate(payload["plan"])
        cells = [(line, column) for line in range(len(plan.rows)) for column in range(len(plan.prompts))]
        waiting, open_jobs = deque(cells), dict[tuple[int, int], str]()
        images: dict[tuple[int, int], str] = {}
        done = 0
        try:
            while waiting or open_jobs:
                while waiting and len(open_jobs) < _AT_ONCE:
                    cell = waiting.popleft()
                    open_jobs[cell] = self._submit(plan, cell, running)
                for cell, job_id in list(open_jobs.items()):
                    if self._over(job_id):
                        images[cell] = self._image(job_id)
                        del open_jobs[cell]
                        done += 1
                yield ErrandStep(_DRAWN, 0.98 * done / len(cells))
                if not any(self._running(job_id) for job_id in open_jobs.values()):
                    # The worker paints between two of these steps; with nothing to paint it would only turn round.
                    time.sleep(_PATIENCE)
        finally:
            for job_id in open_jobs.values():
                self._cancel(job_id, running.owner)
        yield ErrandStep("saving", 0.99)
        pictures = [
            [self._opened(images[line, column]) for column in range(len(plan.prompts))]
            for line in range(len(plan.rows))
        ]
        numbers = row_numbers(plan.rows, pictures)
        report = ComparisonReport(
            rows=numbers,
            side_effects=side_effects(plan.rows, numbers),
            cells=tuple(tuple(images[line, at] for at in range(len(plan.prompts))) for line in range(len(plan.rows))),
        )
        payload["report"] = report.model_dump(mode="json")
        self._store.jobs.set_payload(running.job_id, payload)
        grid = labelled_grid(pictures, [row.title for row in plan.rows], plan.prompts)
        self._finisher.save(running, grid)

    def _submit(self, plan: ComparisonPlan, cell: tuple[int, int], running: Running) -> str:
        line, column = cell
        admitted = self._admission.admit(cell_spec(plan, line, column))
        job = self._queue.submit(
            admitted,
            owner=running.owner,
            priority=running.claim.job.priority,
            request_id=f"{running.job_id}:{line}:{column}",
        )
        return job.id

    def _over(self, job_id: str) -> bool:
        record = self._store.jobs.get(job_id)
        if record.status == "failed":
            told = record.error
            what = told.message if told is not None else "A picture could not be painted."
            raise GenerationError(
                "generation_failed", f"A picture of the comparison failed: {what}", told.hint if told else ""
            )
        return record.status in ("done", "canceled")

    def _running(self, job_id: str) -> bool:
        return self._store.jobs.get(job_id).status == "running"

    def _image(self, job_id: str) -> str:
        images = self._store.history.for_job(job_id)
        return images[0].id if images else ""

    def _opened(self, image_id: str) -> Image.Image | None:
        if not image_id:
            return None
        try:
            with Image.open(self._outputs / self._store.history.get(image_id).name) as image:
                return image.convert("RGB")
        except OSError:
            # It was taken away meanwhile: an empty cell says so.
            return None

    def _cancel(self, job_id: str, owner: str) -> None:
        try:
            self._queue.cancel(job_id, owner, None)
        except ConflictError:
            # It ended by itself.
            return


def cell_spec(plan: ComparisonPlan, line: int, column: int) -> GenerationSpec:
    """What one cell is painted with."""
    row, prompt = plan.rows[line], plan.prompts[column]
    words = ", ".join(text for text in (row.words, prompt) if text)
    return plan.spec.model_copy(update={"prompt": words, "adapters": row.adapters, "count": 1, "batch_size": 1})


def row_numbers(rows: tuple[ComparedRow, ...], pictures: list[list[Image.Image | None]]) -> tuple[RowNumbers, ...]:
    """Each line's distance from the first, over the prompts of which both have a picture."""
    found: list[RowNumbers] = []
    for row, line in zip(rows, pictures, strict=True):
        pairs = [(one, first) for one, first in zip(line, pictures[0], strict=True) if one and first]
        squares = [_mean_square(one, first) for one, first in pairs if one.size == first.size]
        change = math.sqrt(sum(squares) / len(squares)) if squares else 0.0
        decibels = -20.0 * math.log10(change) if change > 0.0 else None
        found.append(RowNumbers(title=row.title, role=row.role, change=change, decibels=decibels))
    return tuple(found)


def side_effects(rows: tuple[ComparedRow, ...], numbers: tuple[RowNumbers, ...]) -> tuple[SideEffect, ...]:
    """What each adapter changes at its largest weight, with its words and without them."""
    found: list[SideEffect] = []
    changes = list(zip(rows, (each.change for each in numbers), strict=True))
    for adapter in dict.fromkeys(row.adapter for row in rows if row.role == "with_words"):
        own = [(row, change) for row, change in changes if row.adapter == adapter]
        row, with_words = max(
            ((row, change) for row, change in own if row.role == "with_words"), key=lambda each: abs(each[0].weight)
        )
        without = next((change for other, change in own if other.role == "without_words"), None)
        found.append(
            SideEffect(
                adapter=adapter,
                title=row.title,
                trigger_words=row.words,
                weight=row.weight,
                with_words=with_words,
                without_words=without,
                share=without / with_words if without is not None and with_words > 0.0 else None,
            )
        )
    return tuple(found)


def _mean_square(one: Image.Image, other: Image.Image) -> float:
    first, second = (np.asarray(each, dtype=np.float32) / 255.0 for each in (one, other))
    return float(np.square(first - second, dtype=np.float64).mean())
