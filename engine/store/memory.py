"""MemoryStore: the memory level, what the pool held, what is pinned, and which model was asked for when."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from engine.store.db import Db

_DAYS_KEPT = 60
_DAY = 86_400.0
_ENTRIES_KEPT = 500


@dataclass(frozen=True)
class PoolRow:
    """A part as the pool held it. `key` is a digest of its identity; `used_at` seconds since the epoch; `loaded`
    whether it was there when the row was written."""

    key: str
    title: str
    part: str = ""
    nbytes: int = 0
    pinned: bool = False
    warm: bool = False
    uses: int = 0
    used_at: float = 0.0
    loaded: bool = False


class MemoryStore:
    """The tables `pool_state`, `pinned_models`, `model_uses`, `memory_settings`."""

    def __init__(self, db: Db) -> None:
        self._db = db

    def setting(self, name: str) -> str | None:
        """A setting ("level", "policy", "pool_gb"), None where it was never chosen."""
        value = self._db.value("SELECT value FROM memory_settings WHERE name = ?", (name,))
        return None if value is None else str(value)

    def set_setting(self, name: str, value: str) -> None:
        """Keep a setting."""
        with self._db.transaction():
            self._db.execute(
                "INSERT INTO memory_settings (name, value) VALUES (?, ?) "
                "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (name, value),
            )

    def save_pool(self, rows: Iterable[PoolRow]) -> None:
        """Keep what the pool holds now; what it held before stays known, with its pins, as not loaded."""
        with self._db.transaction():
            self._db.execute("UPDATE pool_state SET loaded = 0")
            for row in rows:
                self._put(row)
            self._db.execute(
                "DELETE FROM pool_state WHERE pinned = 0 AND warm = 0 AND key NOT IN "
                "(SELECT key FROM pool_state ORDER BY used_at DESC LIMIT ?)",
                (_ENTRIES_KEPT,),
            )

    def pool(self) -> list[PoolRow]:
        """Everything that is known of parts, last used first."""
        rows = self._db.rows("SELECT * FROM pool_state ORDER BY used_at DESC, key")
        flags = ("pinned", "warm", "loaded")
        return [PoolRow(**{**row, **{name: bool(row[name]) for name in flags}}) for row in rows]

    def mark(self, row: PoolRow) -> None:
        """Keep one part's row, its pins above all."""
        with self._db.transaction():
            self._put(row)

    def pin_model(self, model: str, pinned: bool = True) -> None:
        """Load a model at the start, or no more."""
        with self._db.transaction():
            if pinned:
                self._db.execute(
                    "INSERT OR IGNORE INTO pinned_models (model, pinned_at) VALUES (?, ?)", (model, time.time())
                )
            else:
                self._db.execute("DELETE FROM pinned_models WHERE model = ?", (model,))

    def pinned_models(self) -> list[str]:
        """Models to load at the start, first pinned first."""
        return [str(row["model"]) for row in self._db.rows("SELECT model FROM pinned_models ORDER BY pinned_at, model")]

    def used(self, model: str, at: float | None = None) -> None:
        """A model was asked for."""
        with self._db.transaction():
            self._db.execute(
                "INSERT INTO model_uses (model, at) VALUES (?, ?)", (model, time.time() if at is None else at)
            )

    def uses(self, since: float) -> list[tuple[str, float]]:
        """(model, seconds since the epoch) of what was asked for since then, oldest first."""
        rows = self._db.rows("SELECT model, at FROM model_uses WHERE at >= ? ORDER BY at, id", (since,))
        return [(str(row["model"]), float(row["at"])) for row in rows]

    def prune(self) -> int:
        """Forget uses that are older than 60 days; how many went."""
        with self._db.transaction():
            return self._db.execute("DELETE FROM model_uses WHERE at < ?", (time.time() - _DAYS_KEPT * _DAY,))

    def _put(self, row: PoolRow) -> None:
        values = asdict(row)
        names = ", ".join(values)
        marks = ", ".join(f":{name}" for name in values)
        changes = ", ".join(f"{name} = excluded.{name}" for name in values if name != "key")
        self._db.execute(
            f"INSERT INTO pool_state ({names}) VALUES ({marks}) ON CONFLICT (key) DO UPDATE SET {changes}", values
        )
