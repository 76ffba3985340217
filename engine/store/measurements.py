"""MeasurementStore: numbers that were measured on this machine, for forecasts and choices."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from engine.store.db import Db


@dataclass(frozen=True)
class Measurement:
    """One number. `at` is seconds since the epoch; the unit belongs to `kind`."""

    at: float
    kind: str
    key: str
    value: float
    context: dict[str, JsonValue]


class MeasurementStore:
    """The table `measurements`."""

    def __init__(self, db: Db) -> None:
        self._db = db

    def add(self, kind: str, key: str, value: float, context: Mapping[str, JsonValue] | None = None) -> None:
        """Keep a number; `value` must be finite."""
        if not math.isfinite(value):
            raise ValueError(f"{kind} {key}: {value} is not a measurement")
        with self._db.transaction():
            row = {
                "at": time.time(),
                "kind": kind,
                "key": key,
                "value": value,
                "context": json.dumps(dict(context or {})),
            }
            self._db.insert("measurements", row)

    def recent(self, kind: str, key: str, limit: int) -> list[Measurement]:
        """The newest numbers of one kind and key, newest first."""
        rows = self._db.rows(
            "SELECT at, kind, key, value, context FROM measurements "
            "WHERE kind = ? AND key = ? ORDER BY id DESC LIMIT ?",
            (kind, key, limit),
        )
        return [Measurement(**{**row, "context": json.loads(row["context"])}) for row in rows]

    def prune(self, keep: int) -> int:
        """Drop all but the newest `keep` numbers; how many went."""
        with self._db.transaction():
            return self._db.execute(
                "DELETE FROM measurements WHERE id <= (SELECT max(id) FROM measurements) - ?", (keep,)
            )
