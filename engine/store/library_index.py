"""LibraryIndex: what was read out of model files, so that an unchanged file is never opened twice."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import JsonValue
from pydantic_core import from_json

from engine.library.index import Info, KnownRow
from engine.store.db import Db, Row

_PUT = """
INSERT INTO library_files (path, size, mtime_ns, info) VALUES (?, ?, ?, ?)
ON CONFLICT (path) DO UPDATE SET
    hash = CASE WHEN size = excluded.size AND mtime_ns = excluded.mtime_ns THEN hash ELSE '' END,
    size = excluded.size, mtime_ns = excluded.mtime_ns, info = excluded.info
"""


class LibraryIndex:
    """The table `library_files`. A row holds for one path, size (bytes) and time of change (ns since the epoch)."""

    def __init__(self, db: Db) -> None:
        self._db = db

    def get(self, path: str | Path, size: int, mtime_ns: int) -> Info | None:
        """What was stored of this very file, with its `hash` ("" while unknown); None if it changed or is new."""
        row = self._db.row(
            "SELECT info, hash FROM library_files WHERE path = ? AND size = ? AND mtime_ns = ?",
            (_key(path), size, mtime_ns),
        )
        return None if row is None else _info(row)

    def all(self) -> dict[str, KnownRow]:
        """Every row at once, for a scan of thousands of files, by its path."""
        rows = self._db.tuples("SELECT path, size, mtime_ns, info, hash FROM library_files")
        return {path: KnownRow(*rest) for path, *rest in rows}

    def paths(self) -> list[str]:
        """The path of every row."""
        return [path for (path,) in self._db.tuples("SELECT path FROM library_files")]

    def put(self, path: str | Path, size: int, mtime_ns: int, info: Mapping[str, JsonValue]) -> None:
        """Store what was read of a file; a hash that is known of this very file stays."""
        self.put_many([(path, size, mtime_ns, info)])

    def put_many(self, rows: Iterable[tuple[str | Path, int, int, Mapping[str, JsonValue]]]) -> None:
        """Store many files in one transaction."""
        texts = [(_key(path), size, mtime_ns, _text(info)) for path, size, mtime_ns, info in rows]
        with self._db.transaction():
            self._db.execute_many(_PUT, texts)

    def set_hash(self, path: str | Path, size: int, mtime_ns: int, hash_: str) -> bool:
        """Store the file's SHA-256 (hex); False if the row is gone or of another state of the file."""
        with self._db.transaction():
            changed = self._db.execute(
                "UPDATE library_files SET hash = ? WHERE path = ? AND size = ? AND mtime_ns = ?",
                (hash_, _key(path), size, mtime_ns),
            )
        return changed == 1

    def prune(self, existing: Iterable[str | Path]) -> int:
        """Forget every file that is not among the existing ones; how many went."""
        with self._db.transaction():
            return self._db.execute(
                "DELETE FROM library_files WHERE path NOT IN (SELECT value FROM json_each(?))",
                (json.dumps([_key(path) for path in existing]),),
            )


def _key(path: str | Path) -> str:
    """The path as text; a file name that is not valid UTF-8 (Linux allows it) gets escapes, which SQLite can hold."""
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


def _text(info: Mapping[str, JsonValue]) -> str:
    return json.dumps({name: value for name, value in info.items() if name != "hash"})


def _info(row: Row) -> Info:
    return {**from_json(row["info"]), "hash": row["hash"]}
