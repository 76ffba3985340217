"""ValueStore: small JSON values of an owner, such as the last form and presets."""

from __future__ import annotations

import json
import time

from pydantic import JsonValue

from engine.store.db import Db


class ValueStore:
    """The table `stored_values`. Keys are "area.name"."""

    def __init__(self, db: Db) -> None:
        self._db = db

    def get(self, owner: str, key: str) -> JsonValue:
        """The value, or None where none is stored."""
        text = self._db.value("SELECT value FROM stored_values WHERE owner = ? AND key = ?", (owner, key))
        return None if text is None else json.loads(text)

    def set(self, owner: str, key: str, value: JsonValue) -> None:
        """Store a value; None removes it."""
        with self._db.transaction():
            if value is None:
                self._db.execute("DELETE FROM stored_values WHERE owner = ? AND key = ?", (owner, key))
                return
            self._db.execute(
                "INSERT INTO stored_values (owner, key, value, changed_at) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (owner, key) DO UPDATE SET value = excluded.value, changed_at = excluded.changed_at",
                (owner, key, json.dumps(value), time.time()),
            )

    def keys(self, owner: str, area: str = "") -> list[str]:
        """The owner's keys that begin with `area`, sorted."""
        rows = self._db.rows(
            "SELECT key FROM stored_values WHERE owner = ? AND substr(key, 1, ?) = ? ORDER BY key",
            (owner, len(area), area),
        )
        return [row["key"] for row in rows]
