"""JobQueue: the life of a job from submit to its end, durable at every turn.

Handlers (any thread) and the worker meet here and nowhere else. Every change is written to the store first, then told.
Locking: one lock around the bookkeeping; the store has its own, always taken after this one.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from pydantic import JsonValue

from engine.errors import ConflictError, StudioError
from engine.jobs.admission import Admitted
from engine.jobs.board import Board
from engine.jobs.schedule import Waiting, fair_order
from engine.jobs.views import JobViews
from engine.metrics.registry import Metrics
from engine.protocol.events import Event, JobChanged, JobNoticed, QueueChanged
from engine.protocol.jobs import FINISHED, ErrorView, JobStatus, JobView
from engine.protocol.notices import Notice
from engine.protocol.specs import GenerationSpec
from engine.store.jobs import JobRecord, TaskRecord
from engine.store.store import Store

STAGES = ("encode", "denoise", "decode")
# How far back an owner's finished pictures count against the next turn.
FAIRNESS_SECONDS = 600.0


@dataclass
class _Live:
    """An unfinished job. `not_before` delays a retry; `canceled` are running pictures that the worker must drop."""

    record: JobRecord
    tasks: dict[int, TaskRecord]
    not_before: float = 0.0
    canceled: set[int] = field(default_factory=set)
    stopped: bool = False


@dataclass(frozen=True)
class Claim:
    """A picture that may start."""

    job: JobRecord
    task: TaskRecord


class JobQueue:
    """All unfinished jobs, in memory and in the store."""

    def __init__(self, store: Store, board: Board, metrics: Metrics, publish: Callable[[Event], None]) -> None:
        self._store = store
        self._metrics = metrics
        self._board = board
        self._publish = publish
        self._views = JobViews(store, board)
        self._lock = threading.RLock()
        self._live: dict[str, _Live] = {}
        self._served: deque[tuple[float, str]] = deque(maxlen=10_000)
        self._wake = threading.Condition()
        self._woken = False

    # --- start and submit ------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Take up what the last run left unfinished; recovery has set it back to queued."""
        with self._lock:
            for record in self._store.jobs.unfinished():
                self._live[record.id] = _Live(record, {task.index: task for task in record.tasks})
        self._tell_queue()

    def submit(self, admitted: Admitted, *, owner: str, priority: str, request_id: str | None) -> JobView:
        """Store a job durably, queue it, and return it; a repeated `request_id` returns the first one."""
        return self._accept(
            admitted.spec, "generate", None, admitted.notices, owner=owner, priority=priority, request_id=request_id
        )

    def submit_errand(
        self,
        kind: str,
        spec: GenerationSpec,
        payload: dict[str, JsonValue],
        *,
        owner: str,
        request_id: str | None = None,
    ) -> JobView:
        """The same for work that paints nothing new: `payload` says what to do, `spec` what its result is made with."""
        return self._accept(spec, kind, payload, (), owner=owner, priority="normal", request_id=request_id)

    def _accept(
        self,
        spec: GenerationSpec,
        kind: str,
        payload: dict[str, JsonValue] | None,
        notices: tuple[Notice, ...],
        *,
        owner: str,
        priority: str,
        request_id: str | None,
    ) -> JobView:
        job_id = uuid.uuid4().hex
        tasks = tuple(TaskRecord(job_id, index, "queued", uuid.uuid4().hex, None, 0) for index in range(spec.count))
        record = self._store.jobs.submit(
            JobRecord(
                id=job_id,
                owner=owner,
                kind=kind,
                stages=STAGES if kind == "generate" else (kind,),
                status="queued",
                spec=spec,
                priority=priority,
                notices=notices,
                error=None,
                created_at=time.time(),
                started_at=None,
                finished_at=None,
                attempts=0,
                evaluations=0,
                request_id=request_id,
                tasks=tasks,
                payload=payload,
            )
        )
        if record.id == job_id:
            with self._lock:
                self._live[job_id] = _Live(record, {task.index: task for task in record.tasks})
            self._tell(record)
            self._tell_queue()
        view = self.view(record)
        # Last, so that the answer does not wait for the worker's first steps.
        self.wake()
        return view

    # --- reading ---------------------------------------------------------------------------------------------------

    def view(self, record: JobRecord) -> JobView:
        """The job as its owner sees it."""
        return self._views.view(record, self.positions())

    def find(self, job_id: str, owner: str) -> JobView:
        """NotFoundError `job_unknown` for an unknown job and for another owner's."""
        return self.view(self._store.jobs.get(job_id, owner))

    def positions(self) -> dict[str, int]:
        """Job id → place in the queue, 0 = next."""
        return {waiting.job_id: place for place, waiting in enumerate(self._order())}

    def counts(self) -> tuple[int, int]:
        """Queued and running jobs."""
        with self._lock:
            status = Counter(live.record.status for live in self._live.values())
        return status["queued"], status["running"]

    def waiting(self) -> list[Claim]:
        """Pictures that could start now, in the order in which they should; running jobs' further pictures first."""
        now = time.time()
        with self._lock:
            begun = [live for live in self._live.values() if live.record.status == "running"]
            ordered = begun + [self._live[waiting.job_id] for waiting in self._order()]
            return [
                Claim(live.record, task)
                for live in ordered
                if live.not_before <= now and not live.stopped
                for task in live.tasks.values()
                if task.status == "queued"
            ]

    def next_retry(self) -> float | None:
        """Seconds until a delayed job may start again, None where none is delayed."""
        now = time.time()
        with self._lock:
            delays = [live.not_before - now for live in self._live.values() if live.not_before > now]
        return min(delays, default=None)

    # --- what the worker does --------------------------------------------------------------------------------------

    def claim(self, claim: Claim) -> bool:
        """Start a picture; False when it was canceled meanwhile."""
        job_id, index = claim.job.id, claim.task.index
        with self._lock:
            live = self._live.get(job_id)
            if live is None or live.stopped or live.tasks[index].status != "queued":
                return False
            self._set_task(live, index, "running")
            started = live.record.status == "queued"
            if started:
                self._store.jobs.mark_running(job_id)
                live.record = self._store.jobs.get(job_id)
            saved = sum(1 for task in live.tasks.values() if task.status == "done")
            planned = sum(1 for task in live.tasks.values() if task.status != "canceled")
            self._board.open(job_id, count=planned, saved=saved)
        if started:
            self._tell(live.record)
            self._tell_queue()
        return True

    def is_canceled(self, job_id: str, index: int) -> bool:
        """Whether the worker must drop this running picture."""
        with self._lock:
            live = self._live.get(job_id)
            return live is None or live.stopped or index in live.canceled

    def reserve_file(self, job_id: str, index: int, file_name: str) -> None:
        """Remember the name before the file is written, so that a crash in between saves nothing twice."""
        with self._lock:
            self._store.jobs.set_task(job_id, index, file_name=file_name)

    def saved(self, job_id: str, index: int) -> None:
        """A picture is on the disk and in the history (which marked its task done)."""
        with self._lock:
            live = self._live[job_id]
            live.tasks[index] = replace(live.tasks[index], status="done")
            self._served.append((time.time(), live.record.owner))
        self._settle(job_id)

    def dropped(self, job_id: str, index: int) -> None:
        """The worker let go of a canceled picture."""
        with self._lock:
            live = self._live.get(job_id)
            if live is None:
                return
            self._set_task(live, index, "canceled")
            self._board.drop(job_id, index)
        self._settle(job_id)

    def retry(self, job_id: str, delay: float) -> None:
        """Queue the job's unfinished pictures again after `delay` seconds."""
        with self._lock:
            live = self._live[job_id]
            live.not_before = time.time() + delay
            for index, task in live.tasks.items():
                if task.status == "running":
                    self._set_task(live, index, "queued")

    def fail(self, job_id: str, error: StudioError) -> None:
        """End the job with an error; pictures that are saved stay."""
        with self._lock:
            live = self._live.get(job_id)
            if live is None:
                return
            for index, task in live.tasks.items():
                if task.status in ("queued", "running"):
                    self._set_task(live, index, "failed")
        self._end(job_id, "failed", ErrorView(code=error.code, message=error.message, hint=error.hint))

    def notice(self, job_id: str, notice: Notice) -> None:
        """Tell the owner something, and keep it with the job; the same sentence is told once."""
        with self._lock:
            live = self._live.get(job_id)
            if live is None or notice in live.record.notices:
                return
            self._store.jobs.add_notice(job_id, notice)
            live.record = replace(live.record, notices=(*live.record.notices, notice))
        self._publish(JobNoticed(owner=live.record.owner, job_id=job_id, notice=notice))

    # --- cancel ----------------------------------------------------------------------------------------------------

    def cancel(self, job_id: str, owner: str, index: int | None) -> JobView:
        """Cancel a job, or skip one picture. What waits ends at once; what runs ends at the next UNet block.

        Raises:
            NotFoundError: `job_unknown`. ConflictError: `job_already_finished`.
        """
        record = self._store.jobs.get(job_id, owner)
        with self._lock:
            live = self._live.get(job_id)
            if live is None or record.status in FINISHED:
                raise ConflictError("job_already_finished", f"This job is {record.status} already.", "")
            if index is not None and index not in live.tasks:
                raise ConflictError("job_already_finished", f"This job has no picture {index}.", "")
            wanted = list(live.tasks) if index is None else [index]
            for place in wanted:
                if live.tasks[place].status == "queued":
                    self._set_task(live, place, "canceled")
                    self._board.drop(job_id, place)
                elif live.tasks[place].status == "running":
                    live.canceled.add(place)
            live.stopped = live.stopped or index is None
        self._settle(job_id)
        self.wake()
        return self.find(job_id, owner)

    # --- waking the worker -----------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Something changed: the worker should look."""
        with self._wake:
            self._woken = True
            self._wake.notify_all()

    def wait(self, seconds: float) -> None:
        """Sleep until something changes, at most `seconds`."""
        with self._wake:
            if not self._woken:
                self._wake.wait(seconds)
            self._woken = False

    # --- inside ----------------------------------------------------------------------------------------------------

    def _order(self) -> list[Waiting]:
        now = time.time()
        with self._lock:
            queue = [
                Waiting(live.record.id, live.record.owner, live.record.priority, live.record.created_at)
                for live in self._live.values()
                if live.record.status == "queued"
            ]
            served = Counter(owner for when, owner in self._served if now - when < FAIRNESS_SECONDS)
        return fair_order(queue, {owner: float(count) for owner, count in served.items()}, now)

    def _set_task(self, live: _Live, index: int, status: JobStatus) -> None:
        self._store.jobs.set_task(live.record.id, index, status=status)
        live.tasks[index] = replace(live.tasks[index], status=status)

    def _settle(self, job_id: str) -> None:
        """End the job when none of its pictures is left to make."""
        with self._lock:
            live = self._live.get(job_id)
            if live is None or any(task.status in ("queued", "running") for task in live.tasks.values()):
                return
            made = any(task.status == "done" for task in live.tasks.values())
            status: JobStatus = "canceled" if live.stopped or not made else "done"
        self._end(job_id, status, None)

    def _end(self, job_id: str, status: JobStatus, error: ErrorView | None) -> None:
        with self._lock:
            if self._live.pop(job_id, None) is None:
                return
            self._store.jobs.finish(job_id, status, error)
            self._board.close(job_id)
            record = self._store.jobs.get(job_id)
        self._metrics.job_finished(status)
        self._tell(record)
        self._tell_queue()

    def _tell(self, record: JobRecord) -> None:
        self._publish(JobChanged(owner=record.owner, job=self.view(record)))

    def _tell_queue(self) -> None:
        self._publish(QueueChanged(positions=self.positions()))
