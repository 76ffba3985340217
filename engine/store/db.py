"""Db: the one connection to studio.db, shared by all threads under one lock."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlite_utils

from engine.store.faults import faults_told

BUSY_SECONDS = 5.0
Row = dict[str, Any]


class Db:
    """A sqlite-utils database whose every use is serialised and whose errors are StudioErrors.

    Reading outside a transaction sees the last commit. Writing happens inside `transaction()` only. Any thread may.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        with faults_told():
            connection = sqlite3.connect(
                path,
                timeout=BUSY_SECONDS,
                check_same_thread=False,
                # The driver opens no transactions of its own: `transaction()` is the only place.
                isolation_level=None,
                cached_statements=256,
            )
            try:
                self.utils = sqlite_utils.Database(connection, execute_plugins=False)
                self._prepare()
            except BaseException:
                connection.close()
                raise

    def _prepare(self) -> None:
        for pragma in (
            "journal_mode = WAL",
            # In WAL mode FULL syncs at each commit: an accepted job survives a power cut. NORMAL would not.
            "synchronous = FULL",
            # On macOS a plain fsync leaves data in the drive's cache; elsewhere this does nothing.
            "fullfsync = ON",
            f"busy_timeout = {int(BUSY_SECONDS * 1000)}",
            "foreign_keys = ON",
            # At most 32 MB: searching a large history walks indexes that do not fit the default of 2 MB.
            "cache_size = -32000",
        ):
            self.utils.conn.execute(f"PRAGMA {pragma}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and on the disk when the block has ended. Nested blocks join the outer one."""
        with self._lock:
            if self.utils.conn.in_transaction:
                yield
                return
            with faults_told():
                self.utils.conn.execute("BEGIN IMMEDIATE")
            try:
                yield
                with faults_told():
                    self.utils.conn.execute("COMMIT")
            except BaseException:
                with faults_told():
                    # Does nothing where SQLite has rolled back by itself (a full disk, for one).
                    self.utils.rollback()
                raise

    @contextmanager
    def alone(self) -> Iterator[sqlite_utils.Database]:
        """The sqlite-utils database itself, with no other thread in between: for migrations."""
        with self._lock, faults_told():
            yield self.utils

    def rows(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[Row]:
        """All rows of a query."""
        with self._lock, faults_told():
            cursor = self.utils.conn.execute(sql, parameters)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def tuples(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query without the columns' names, for thousands of them."""
        with self._lock, faults_told():
            return self.utils.conn.execute(sql, parameters).fetchall()

    def row(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> Row | None:
        """The first row of a query, None where there is none."""
        found = self.rows(sql, parameters)
        return found[0] if found else None

    def value(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> Any:
        """The first column of the first row, None where there is none."""
        with self._lock, faults_told():
            row = self.utils.conn.execute(sql, parameters).fetchone()
            return None if row is None else row[0]

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> int:
        """Carry out a statement; the number of rows that it changed."""
        with self._lock, faults_told():
            return int(self.utils.conn.execute(sql, parameters).rowcount)

    def execute_many(self, sql: str, parameters: Iterable[Sequence[Any]]) -> int:
        """Carry out a statement for each set of parameters; the number of rows that it changed."""
        with self._lock, faults_told():
            return int(self.utils.conn.executemany(sql, parameters).rowcount)

    def insert(self, table: str, row: Row) -> int:
        """Add a row; its rowid."""
        columns = ", ".join(row)
        marks = ", ".join(f":{name}" for name in row)
        with self._lock, faults_told():
            cursor = self.utils.conn.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", row)
            return int(cursor.lastrowid or 0)

    def close(self) -> None:
        """Fold the write-ahead log into the file, and let go of it."""
        with self._lock:
            try:
                self.utils.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error:
                # The log stays beside the file; the next start folds it in.
                pass
            self.utils.conn.close()
