"""EventLog: what happened to jobs and to the engine, kept for people and for support; previews are not kept."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from engine.store.db import Db


@dataclass(frozen=True)
class EventRecord:
    """One entry. `at` is seconds since the epoch."""

    id: int
    at: float
    kind: str
    job_id: str | None
    payload: dict[str, JsonValue]


class EventLog:
    """The table `events`."""

    def __init__(self, db: Db) -> None:
        self._db = db

    def append(self, kind: str, payload: Mapping[str, JsonValue], job_id: str | None = None) -> int:
        """Add an entry; its id."""
        with self._db.transaction():
            return self._db.insert(
                "events", {"at": time.time(), "kind": kind, "job_id": job_id, "payload": json.dumps(dict(payload))}
            )

    def recent(self, limit: int, job_id: str | None = None) -> list[EventRecord]:
        """The newest entries, newest first; with `job_id`, of that job only."""
        where = "" if job_id is None else "WHERE job_id = :job_id"
        rows = self._db.rows(
            f"SELECT * FROM events {where} ORDER BY id DESC LIMIT :limit", {"job_id": job_id, "limit": limit}
        )
        return [EventRecord(**{**row, "payload": json.loads(row["payload"])}) for row in rows]

    def prune(self, keep: int) -> int:
        """Drop all but the newest `keep` entries; how many went."""
        with self._db.transaction():
            return self._db.execute("DELETE FROM events WHERE id <= (SELECT max(id) FROM events) - ?", (keep,))
