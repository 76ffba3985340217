"""Store: everything that Easel remembers, behind one door per kind of thing."""

from __future__ import annotations

import tempfile
from pathlib import Path

from engine.store.adapters import AdapterStore
from engine.store.db import Db
from engine.store.events import EventLog
from engine.store.faults import damaged, faults_told
from engine.store.history import HistoryStore
from engine.store.jobs import JobStore
from engine.store.library_index import LibraryIndex
from engine.store.measurements import MeasurementStore
from engine.store.memory import MemoryStore
from engine.store.migrator import copy_database, migrate
from engine.store.values import ValueStore

DATABASE = "studio.db"
BACKUP = "studio.backup.db"
# A check of the whole file takes about a second per 200 MB; above this size damage is found when it is met.
CHECKED_BYTES = 16 * 1024 * 1024
KEPT_EVENTS = 100_000
KEPT_MEASUREMENTS = 200_000


class Store:
    """The rooms' doors to studio.db. Every method may be called from any thread.

    Attributes:
        jobs, history, library, adapters, values, events, measurements, memory: one store per kind of thing, one
            connection for all.
    """

    def __init__(self, db: Db) -> None:
        self._db = db
        self.path = db.path
        self.jobs = JobStore(db)
        self.history = HistoryStore(db)
        self.library = LibraryIndex(db)
        self.adapters = AdapterStore(db)
        self.values = ValueStore(db)
        self.events = EventLog(db)
        self.measurements = MeasurementStore(db)
        self.memory = MemoryStore(db)

    def backup(self) -> Path:
        """Replace `studio.backup.db` by a copy of now, and drop the oldest events and measurements; called once a day.

        Writers go on while it copies. A damaged database never replaces a good copy.

        Raises:
            StorageError: `store_damaged`, `disk_full`, `disk_read_only`, `disk_error`; the old copy is still there.
        """
        self.events.prune(KEPT_EVENTS)
        self.measurements.prune(KEPT_MEASUREMENTS)
        self.memory.prune()
        target = self.path.with_name(BACKUP)
        copy_database(self.path, target)
        return target

    def close(self) -> None:
        """Let go of the file; nothing may be called afterwards."""
        self._db.close()


def open_store(state_dir: Path) -> Store:
    """Open the database in `state_dir`, making or migrating it where needed.

    Raises:
        ConflictError: `store_too_new`.
        StorageError: `store_damaged`, `disk_full`, `disk_read_only`, `disk_error`.
    """
    with faults_told():
        state_dir.mkdir(parents=True, exist_ok=True)
        # SQLite calls a folder that it may not write to "unable to open": ask the disk itself.
        with tempfile.TemporaryFile(dir=state_dir) as probe:
            probe.write(b"easel")
            probe.flush()
    db = Db(state_dir / DATABASE)
    try:
        _check(db)
        migrate(db)
    except BaseException:
        db.close()
        raise
    return Store(db)


def _check(db: Db) -> None:
    with faults_told():
        size = db.path.stat().st_size
    if size <= CHECKED_BYTES:
        problem = db.value("PRAGMA quick_check(1)")
        if problem != "ok":
            raise damaged(str(problem))
