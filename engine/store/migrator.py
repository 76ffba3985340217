"""Bringing a studio.db of an older Easel up to date: a copy first, then one transaction per step."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from sqlite_utils.migrations import Migrations

from engine.errors import ConflictError
from engine.store.db import Db
from engine.store.faults import damaged, faults_told
from engine.store.migrations import MIGRATIONS, Migration

KEPT_COPIES = 2


class _Steps(Migrations):
    """sqlite-utils' runner (each step and the record of it in one transaction), with our table name."""

    migrations_table = "migrations"


def migrate(db: Db, steps: Sequence[Migration] = MIGRATIONS) -> list[str]:
    """Apply the steps that the database has not seen, in order; their names.

    A database that holds data is copied beside itself first (`studio.before-<step>.db`, the newest two are kept).

    Raises:
        ConflictError: `store_too_new` when the database knows a step that this Easel does not.
        StorageError: the disk refuses; the database is as it was before the failing step.
    """
    runner = _Steps("easel")
    for step in steps:
        runner()(step)
    with db.alone() as utils:
        applied = {step.name for step in runner.applied(utils)}
        unknown = applied - {step.__name__ for step in steps}
        if unknown:
            raise ConflictError(
                "store_too_new",
                "Easel's database was written by a newer version of Easel.",
                "Start the newer version, or choose another place with --data DIR.",
            )
        pending = [step.name for step in runner.pending(utils)]
        if not pending:
            return []
        if applied:
            copy_database(db.path, db.path.with_name(f"{db.path.stem}.before-{pending[0]}{db.path.suffix}"))
            _keep_newest_copies(db.path)
        # A step may rebuild a table that others refer to; the check afterwards finds what it broke.
        utils.execute("PRAGMA foreign_keys = OFF")
        runner.apply(utils)
        broken = utils.execute("PRAGMA foreign_key_check").fetchone()
        utils.execute("PRAGMA foreign_keys = ON")
        if broken is not None:
            raise damaged(f"rows of {broken[0]} belong to nothing")
    return pending


def copy_database(source: Path, target: Path) -> None:
    """Copy a database that is in use to `target`, whole or not at all; a damaged one never replaces a good copy.

    Reads through a connection of its own, so that writers go on meanwhile (WAL).

    Raises:
        StorageError: `store_damaged`, `disk_full`, `disk_read_only`, `disk_error`.
    """
    unfinished = target.with_name(target.name + ".tmp")
    try:
        with faults_told():
            unfinished.unlink(missing_ok=True)
            with closing(sqlite3.connect(source)) as reader, closing(sqlite3.connect(unfinished)) as writer:
                reader.backup(writer)
                # The copy is one file: no log beside it that could be left behind.
                writer.execute("PRAGMA journal_mode = DELETE")
                problem = writer.execute("PRAGMA quick_check(1)").fetchone()[0]
            if problem != "ok":
                raise damaged(str(problem))
            _sync(unfinished)
            os.replace(unfinished, target)
    finally:
        with faults_told():
            unfinished.unlink(missing_ok=True)


def _sync(file: Path) -> None:
    with file.open("rb+") as handle:
        os.fsync(handle.fileno())


def _keep_newest_copies(path: Path) -> None:
    copies = sorted(path.parent.glob(f"{path.stem}.before-*{path.suffix}"), key=lambda file: file.stat().st_mtime_ns)
    for old in copies[:-KEPT_COPIES]:
        old.unlink(missing_ok=True)
