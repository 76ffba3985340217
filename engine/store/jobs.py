"""JobStore: what was accepted. A job is on the disk before `submit` returns."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from engine.errors import ConflictError, NotFoundError
from engine.protocol.jobs import FINISHED, ErrorView, JobStatus
from engine.protocol.notices import Notice
from engine.protocol.specs import GenerationSpec
from engine.store.db import Db, Row
from engine.store.rows import list_text, notices_text, read_list, read_notices, read_spec, spec_text

_BY_PRIORITY = "CASE priority WHEN 'high' THEN 0 WHEN 'relaxed' THEN 2 ELSE 1 END"


@dataclass(frozen=True)
class TaskRecord:
    """One picture of a job. `file_name` is relative to the outputs folder, None until it is chosen."""

    job_id: str
    index: int
    status: JobStatus
    image_id: str
    file_name: str | None = None
    evaluations: int = 0


@dataclass(frozen=True)
class JobRecord:
    """A job as it is stored. Times are seconds since the epoch; `evaluations` are UNet calls that were spent on it.

    `payload` is what a job of another kind than "generate" is to do.
    """

    id: str
    owner: str
    kind: str
    stages: tuple[str, ...]
    status: JobStatus
    spec: GenerationSpec
    priority: str
    notices: tuple[Notice, ...]
    error: ErrorView | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    attempts: int
    evaluations: int
    request_id: str | None
    tasks: tuple[TaskRecord, ...]
    payload: dict[str, JsonValue] | None = None


# JobStore has a method called `list`, which a type checker would take for the type.
Records = list[JobRecord]


class JobStore:
    """The tables `jobs` and `tasks`. Methods that change a job return when the change is on the disk.

    All of them raise NotFoundError `job_unknown`, and StorageError where the disk refuses.
    """

    def __init__(self, db: Db) -> None:
        self._db = db

    def submit(self, record: JobRecord) -> JobRecord:
        """Store a new job and its tasks durably, and return it.

        The job that this owner submitted before with the same `request_id` (or `id`) is returned instead.
        """
        with self._db.transaction():
            known = self._submitted(record.owner, record.request_id) or self._db.value(
                "SELECT id FROM jobs WHERE owner = ? AND id = ?", (record.owner, record.id)
            )
            if known is None:
                self._db.insert("jobs", _job_row(record))
                for task in record.tasks:
                    self._db.insert("tasks", _task_row(task))
            return self.get(known or record.id)

    def submitted(self, owner: str, request_id: str | None) -> JobRecord | None:
        """The job that this owner submitted before with that `request_id`."""
        known = self._submitted(owner, request_id)
        return None if known is None else self.get(known)

    def get(self, job_id: str, owner: str | None = None) -> JobRecord:
        """One job; with `owner`, only if it is theirs."""
        return self._read([self._row(job_id, owner)])[0]

    def list(
        self, owner: str | None, *, active: bool = False, status: JobStatus | None = None, limit: int = 50
    ) -> Records:
        """An owner's jobs (None: everybody's), newest first; `active` keeps queued and running ones.

        Active jobs come in the order of the queue as far as the store knows it: running, then by priority and age.
        Turns between owners are the queue's affair (engine.jobs).
        """
        wheres, values = ["1 = 1"], []
        if owner is not None:
            wheres.append("owner = ?")
            values.append(owner)
        if status is not None:
            wheres.append("status = ?")
            values.append(status)
        order = "seq DESC"
        if active:
            wheres.append("status IN ('queued', 'running')")
            order = f"status = 'queued', {_BY_PRIORITY}, seq"
        sql = f"SELECT * FROM jobs WHERE {' AND '.join(wheres)} ORDER BY {order} LIMIT ?"
        return self._read(self._db.rows(sql, (*values, limit)))

    def of_kind(self, kind: str, owner: str, limit: int) -> Records:
        """An owner's jobs of one kind, newest first."""
        sql = "SELECT * FROM jobs WHERE kind = ? AND owner = ? ORDER BY seq DESC LIMIT ?"
        return self._read(self._db.rows(sql, (kind, owner, limit)))

    def unfinished(self) -> Records:
        """Every queued or running job, in the order of submission."""
        return self._read(self._db.rows("SELECT * FROM jobs WHERE status IN ('queued', 'running') ORDER BY seq"))

    def mark_running(self, job_id: str) -> None:
        """A queued job has started; of one that runs already, the first start is kept.

        Raises:
            ConflictError: `job_already_finished`.
        """
        with self._db.transaction():
            row = self._row(job_id)
            _refuse_finished(row)
            self._db.execute(
                "UPDATE jobs SET status = 'running', started_at = coalesce(started_at, ?) WHERE id = ?",
                (time.time(), job_id),
            )

    def add_notice(self, job_id: str, notice: Notice) -> None:
        """Keep a notice with the job; the same sentence is kept once."""
        with self._db.transaction():
            notices = read_notices(self._row(job_id)["notices"])
            if notice not in notices:
                self._db.execute("UPDATE jobs SET notices = ? WHERE id = ?", (notices_text([*notices, notice]), job_id))

    def set_task(
        self, job_id: str, index: int, *, status: JobStatus | None = None, file_name: str | None = None
    ) -> None:
        """Change a picture's status or the name of its file; None leaves a value as it is."""
        with self._db.transaction():
            changed = self._db.execute(
                "UPDATE tasks SET status = coalesce(?, status), file_name = coalesce(?, file_name) "
                "WHERE job_id = ? AND job_index = ?",
                (status, file_name, job_id, index),
            )
            if not changed:
                raise _unknown()

    def set_payload(self, job_id: str, payload: dict[str, JsonValue]) -> None:
        """Replace what the job is to do (and, when it is done, what came of it)."""
        with self._db.transaction():
            if not self._db.execute("UPDATE jobs SET payload = ? WHERE id = ?", (json.dumps(payload), job_id)):
                raise _unknown()

    def add_evaluations(self, job_id: str, index: int, count: int) -> None:
        """Count UNet calls that were spent on a picture."""
        with self._db.transaction():
            changed = self._db.execute(
                "UPDATE tasks SET evaluations = evaluations + ? WHERE job_id = ? AND job_index = ?",
                (count, job_id, index),
            )
            if not changed:
                raise _unknown()
            self._db.execute("UPDATE jobs SET evaluations = evaluations + ? WHERE id = ?", (count, job_id))

    def count_attempt(self, job_id: str) -> int:
        """Count one more attempt at the job; how many there were."""
        with self._db.transaction():
            self._row(job_id)
            self._db.execute("UPDATE jobs SET attempts = attempts + 1 WHERE id = ?", (job_id,))
            return int(self._row(job_id)["attempts"])

    def finish(self, job_id: str, status: JobStatus, error: ErrorView | None = None) -> None:
        """End a job. Pictures that are left take the status `failed` or `canceled` too. Doing it twice does nothing.

        Raises:
            ConflictError: `job_already_finished` when it has ended in another way.
        """
        if status not in FINISHED:
            raise AssertionError(f"{status!r} does not end a job")
        with self._db.transaction():
            row = self._row(job_id)
            if row["status"] == status:
                return
            _refuse_finished(row)
            self._db.execute(
                "UPDATE jobs SET status = ?, error = ?, finished_at = ? WHERE id = ?",
                (status, None if error is None else error.model_dump_json(), time.time(), job_id),
            )
            if status != "done":
                self._db.execute(
                    "UPDATE tasks SET status = ? WHERE job_id = ? AND status IN ('queued', 'running')", (status, job_id)
                )

    def counts(self) -> dict[str, int]:
        """How many jobs there are in each status."""
        counts: dict[str, int] = dict.fromkeys(("queued", "running", *FINISHED), 0)
        for row in self._db.rows("SELECT status, count(*) AS jobs FROM jobs GROUP BY status"):
            counts[row["status"]] = row["jobs"]
        return counts

    def _submitted(self, owner: str, request_id: str | None) -> str | None:
        # Nothing equals NULL, so without a request_id nothing is found.
        sql = "SELECT id FROM jobs WHERE owner = ? AND request_id = ?"
        found: str | None = self._db.value(sql, (owner, request_id))
        return found

    def _row(self, job_id: str, owner: str | None = None) -> Row:
        row = self._db.row("SELECT * FROM jobs WHERE id = ?", (job_id,))
        if row is None or (owner is not None and row["owner"] != owner):
            raise _unknown()
        return row

    def _read(self, rows: Iterable[Row]) -> Records:
        rows = [*rows]
        tasks: dict[str, list[TaskRecord]] = {row["id"]: [] for row in rows}
        for task in self._db.rows(
            "SELECT tasks.* FROM json_each(?) AS wanted JOIN tasks ON tasks.job_id = wanted.value "
            "ORDER BY job_id, job_index",
            (json.dumps([*tasks]),),
        ):
            tasks[task["job_id"]].append(_read_task(task))
        return [_read_job(row, tuple(tasks[row["id"]])) for row in rows]


def _unknown() -> NotFoundError:
    return NotFoundError(
        "job_unknown", "There is no such job.", "It may belong to somebody else, or be from another studio."
    )


def _refuse_finished(row: Row) -> None:
    if row["status"] in FINISHED:
        raise ConflictError(
            "job_already_finished", f"This job is {row['status']} already.", "Submit it again for a new one."
        )


def _job_row(job: JobRecord) -> Row:
    return {
        "id": job.id,
        "owner": job.owner,
        "kind": job.kind,
        "stages": list_text(job.stages),
        "status": job.status,
        "spec": spec_text(job.spec),
        "priority": job.priority,
        "notices": notices_text(job.notices),
        "error": None if job.error is None else job.error.model_dump_json(),
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "attempts": job.attempts,
        "evaluations": job.evaluations,
        "request_id": job.request_id,
        "payload": None if job.payload is None else json.dumps(job.payload),
    }


def _task_row(task: TaskRecord) -> Row:
    return {
        "job_id": task.job_id,
        "job_index": task.index,
        "status": task.status,
        "image_id": task.image_id,
        "file_name": task.file_name,
        "evaluations": task.evaluations,
    }


def _read_job(row: Row, tasks: tuple[TaskRecord, ...]) -> JobRecord:
    plain: dict[str, Any] = {name: value for name, value in row.items() if name != "seq"}
    plain["stages"] = read_list(row["stages"])
    plain["spec"] = read_spec(row["spec"])
    plain["notices"] = read_notices(row["notices"])
    plain["error"] = None if row["error"] is None else ErrorView.model_validate_json(row["error"])
    plain["payload"] = None if row["payload"] is None else json.loads(row["payload"])
    return JobRecord(**plain, tasks=tasks)


def _read_task(row: Row) -> TaskRecord:
    return TaskRecord(
        job_id=row["job_id"],
        index=row["job_index"],
        status=row["status"],
        image_id=row["image_id"],
        file_name=row["file_name"],
        evaluations=row["evaluations"],
    )
