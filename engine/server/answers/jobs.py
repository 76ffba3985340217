"""Answers about jobs."""

from __future__ import annotations

import time

from pydantic import JsonValue

from engine.jobs.admission import Admission
from engine.jobs.queue import JobQueue
from engine.protocol.commands import CancelJob, CheckSpec, EnlargeImage, GetJob, JobList, ListJobs, SubmitJob
from engine.protocol.jobs import JobView
from engine.protocol.specs import UPSCALE_CHOICES
from engine.server.dispatch import Answers
from engine.store.store import Store


class JobAnswers:
    """Submit, look at, and cancel jobs."""

    def __init__(self, admission: Admission, queue: JobQueue, store: Store) -> None:
        self._admission, self._queue, self._store = admission, queue, store

    def answers(self) -> Answers:
        """Command type → method."""
        return {
            SubmitJob: self.submit,
            CheckSpec: self.check,
            EnlargeImage: self.enlarge,
            GetJob: self.get,
            ListJobs: self.list,
            CancelJob: self.cancel,
        }

    def submit(self, command: SubmitJob) -> JobView:
        """Check, store, queue."""
        admitted = self._admission.admit(command.spec)
        return self._queue.submit(
            admitted, owner=command.owner, priority=command.priority, request_id=command.request_id
        )

    def check(self, command: CheckSpec) -> JobView:
        """Check only."""
        admitted = self._admission.admit(command.spec)
        return JobView(
            id="",
            owner=command.owner,
            status="queued",
            spec=admitted.spec,
            notices=admitted.notices,
            created_at=time.time(),
        )

    def enlarge(self, command: EnlargeImage) -> JobView:
        """Check what can be checked, and queue it."""
        image = self._store.history.get(command.image_id, command.owner)
        upscaler = self._admission.upscaler_for(image.width, image.height, command.factor, command.upscaler)
        # The settings of the result: those of the picture, and that it was enlarged.
        known = max(choice for choice in UPSCALE_CHOICES if choice <= command.factor * (image.spec.upscale or 1))
        spec = image.spec.model_copy(update={"upscale": known, "upscaler": upscaler, "count": 1, "seed": image.seed})
        payload: dict[str, JsonValue] = {"image_id": image.id, "factor": command.factor, "upscaler": upscaler}
        return self._queue.submit_errand("upscale", spec, payload, owner=command.owner)

    def get(self, command: GetJob) -> JobView:
        """One job of the owner's."""
        return self._queue.find(command.job_id, command.owner)

    def list(self, command: ListJobs) -> JobList:
        """The owner's jobs."""
        records = self._store.jobs.list(
            command.owner, active=command.active, status=command.status, limit=command.limit
        )
        return JobList(jobs=tuple(self._queue.view(record) for record in records))

    def cancel(self, command: CancelJob) -> JobView:
        """Cancel a job or skip one of its pictures."""
        return self._queue.cancel(command.job_id, command.owner, command.job_index)
