"""Faults of the disk and of SQLite as `StudioError`s with codes."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from engine.errors import ConflictError, InternalError, StorageError, StudioError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_WRONG_USE = {sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISUSE, sqlite3.SQLITE_RANGE}


@contextmanager
def faults_told() -> Iterator[None]:
    """Turn errors of the disk inside the block into StudioErrors.

    Raises:
        StorageError: `disk_full`, `disk_read_only`, `store_damaged`, `disk_error`.
        ConflictError: `in_use` when another program holds the database for longer than the busy timeout.
        InternalError: a statement that SQLite refuses, which is a fault of Easel.
    """
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise as_studio_error(error) from error


def as_studio_error(error: sqlite3.Error | OSError) -> StudioError:
    """The error that a person should see."""
    if isinstance(error, OSError):
        return _of_the_disk(error)
    # Errors that Python's own module raises carry no code.
    code: int | None = getattr(error, "sqlite_errorcode", None)
    kind = None if code is None else code & 0xFF
    if kind == sqlite3.SQLITE_FULL:
        return _full()
    if kind in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return _read_only()
    if kind in _DAMAGED:
        return damaged(str(error))
    if kind in _BUSY:
        return ConflictError(
            "in_use",
            "Another program holds Easel's database.",
            "Close the program that has studio.db open, and try again.",
        )
    if kind is None or kind in _WRONG_USE:
        return InternalError("internal", f"The database refused a statement: {error}.", "The log has the details.")
    return StorageError(
        "disk_error",
        f"Easel's database cannot be used: {error}.",
        "Check the disk that holds the outputs folder, and try again.",
    )


def damaged(why: str) -> StorageError:
    """The file is there, but it is not a sound database."""
    return StorageError(
        "store_damaged",
        f"Easel's database outputs/.easel/studio.db is damaged ({why}).",
        "Stop Easel, move studio.db aside and rename studio.backup.db to studio.db; or start without it and "
        "rebuild the history from the pictures. Your pictures are not affected.",
    )


def _of_the_disk(error: OSError) -> StorageError:
    if error.errno in _FULL:
        return _full()
    if error.errno in _READ_ONLY:
        return _read_only()
    return StorageError(
        "disk_error",
        f"The folder of Easel's database cannot be used: {error.strerror or error}.",
        "Check [paths] in config.toml and the disk.",
    )


def _full() -> StorageError:
    return StorageError(
        "disk_full",
        "The disk that holds Easel's database is full.",
        "Free some space and try again; nothing that was accepted before is lost.",
    )


def _read_only() -> StorageError:
    return StorageError(
        "disk_read_only",
        "Easel may not write to the folder of its database.",
        "Give yourself write access to outputs/.easel, or choose another place with --data DIR.",
    )
