"""A disk that refuses: one sentence, a stable code, and nothing half done."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.errors import ConflictError, StorageError, StudioError
from engine.store.db import Db
from engine.store.faults import as_studio_error
from engine.store.store import Store, open_store
from tests.engine.store.making import image_of, new_image, new_job
from tests.support.nobody import as_nobody, reachable_folder


@contextmanager
def _fills_up(store: Store) -> Iterator[None]:
    """No page can be added to the file, as on a full disk."""
    pages = store.jobs._db.value("PRAGMA page_count")
    store.jobs._db.execute(f"PRAGMA max_page_count = {pages}")
    yield
    store.jobs._db.execute("PRAGMA max_page_count = 1000000")


def test_a_full_disk_refuses_a_job_and_forgets_nothing(store: Store) -> None:
    kept = store.jobs.submit(new_job())
    with _fills_up(store):
        accepted = [kept]

        def submit_many() -> None:
            for _ in range(1000):
                accepted.append(store.jobs.submit(new_job(count=5)))

        with pytest.raises(StorageError) as caught:
            submit_many()
        kept = accepted[-1]
        assert caught.value.code == "disk_full"
        assert store.jobs.get(kept.id) == kept, "reading goes on"
    jobs = store.jobs.unfinished()
    assert jobs[-1] == kept
    assert all(len(job.tasks) == job.spec.count for job in jobs), "the refused job left nothing behind"
    assert store.jobs.submit(new_job()).id, "and it works again when there is room"


def test_a_full_disk_leaves_picture_and_task_together(store: Store) -> None:
    job = store.jobs.submit(new_job())

    def record_many() -> None:
        for _ in range(1000):
            store.history.record(new_image("word " * 200), media_type="image/png", owner="ann")

    with _fills_up(store), pytest.raises(StorageError) as caught:
        record_many()
    assert caught.value.code == "disk_full"
    assert store.jobs.get(job.id).tasks[0].status == "queued"
    store.history.record(image_of(job), media_type="image/png", owner="ann")
    assert store.jobs.get(job.id).tasks[0].status == "done"
    assert store.jobs._db.value("PRAGMA integrity_check") == "ok"


@pytest.fixture
def folder() -> Iterator[Path]:
    with reachable_folder() as made:
        yield made


@pytest.mark.skipif(os.name != "posix", reason="Windows has no read-only folders")
@pytest.mark.parametrize("there", ["nothing", "an empty folder", "a store"])
def test_a_read_only_folder(folder: Path, there: str) -> None:
    state = folder if there == "an empty folder" else folder / ".easel"
    if there == "a store":
        open_store(state).close()
        state.chmod(0o555)
    folder.chmod(0o555)
    with as_nobody(), pytest.raises(StorageError) as caught:
        open_store(state)
    assert caught.value.code == "disk_read_only"
    assert caught.value.hint
    if there == "a store":
        state.chmod(0o755)


@pytest.mark.skipif(os.name != "posix", reason="Windows has no read-only folders")
def test_a_read_only_file(folder: Path) -> None:
    open_store(folder).close()
    (folder / "studio.db").chmod(stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH)
    folder.chmod(0o777)
    with as_nobody(), pytest.raises(StorageError) as caught:
        open_store(folder).jobs.submit(new_job())
    assert caught.value.code == "disk_read_only"


def test_the_folder_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("not a folder")
    with pytest.raises(StorageError) as caught:
        open_store(tmp_path / "outputs" / ".easel")
    assert caught.value.code == "disk_error"


@pytest.mark.parametrize(
    "content", [b"this is not a database, not even nearly" * 100, b"SQLite format 3\0" + b"\xff" * 8000]
)
def test_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "studio.db").write_bytes(content)
    with pytest.raises(StorageError) as caught:
        open_store(tmp_path)
    assert caught.value.code == "store_damaged"
    assert "studio.backup.db" in caught.value.hint
    assert (tmp_path / "studio.db").read_bytes() == content, "left for the person to look at"


@pytest.mark.parametrize("damage", ["middle", "cut"])
def test_a_damaged_database(tmp_path: Path, damage: str) -> None:
    store = open_store(tmp_path)
    for _ in range(20):
        store.jobs.submit(new_job())
    store.close()
    file = tmp_path / "studio.db"
    content = bytearray(file.read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    else:
        content[8192:-4096] = b"\xa5" * len(content[8192:-4096])
    file.write_bytes(content)
    with pytest.raises(StorageError) as caught:
        open_store(tmp_path)
    assert caught.value.code == "store_damaged"


def test_damage_that_is_met_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path)
    for _ in range(50):
        store.jobs.submit(new_job())
    page = store.jobs._db.value("SELECT rootpage FROM sqlite_master WHERE name = 'jobs'")
    store.backup()
    good = (tmp_path / "studio.backup.db").read_bytes()
    store.close()
    content = bytearray((tmp_path / "studio.db").read_bytes())
    content[(page - 1) * 4096 : page * 4096] = b"\xa5" * 4096
    (tmp_path / "studio.db").write_bytes(content)
    with pytest.raises(StorageError) as caught:
        open_store(tmp_path)
    assert caught.value.code == "store_damaged"
    # As for a large file, which is not checked as a whole at the start.
    monkeypatch.setattr("engine.store.store.CHECKED_BYTES", 0)
    store = open_store(tmp_path)
    with pytest.raises(StorageError) as caught:
        store.jobs.unfinished()
    assert caught.value.code == "store_damaged"
    with pytest.raises(StorageError) as caught:
        store.backup()
    assert caught.value.code == "store_damaged"
    assert (tmp_path / "studio.backup.db").read_bytes() == good, "the good copy is not replaced by a bad one"
    store.close()


def test_another_program_holds_the_database(store: Store) -> None:
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store.jobs._db.execute("PRAGMA busy_timeout = 1")
    with pytest.raises(ConflictError) as caught:
        store.jobs.submit(new_job())
    assert caught.value.code == "in_use"
    other.execute("ROLLBACK")
    other.close()
    store.jobs.submit(new_job())


def test_a_wrong_statement_is_our_fault(store: Store) -> None:
    db: Db = store.jobs._db
    with pytest.raises(StudioError) as caught:
        db.rows("SELECT nonsense FROM nowhere")
    assert caught.value.code == "internal"


def test_the_operating_systems_own_words(tmp_path: Path) -> None:
    assert as_studio_error(OSError(28, "No space left on device")).code == "disk_full"
    assert as_studio_error(OSError(30, "Read-only file system")).code == "disk_read_only"
    assert as_studio_error(OSError(5, "Input/output error")).code == "disk_error"
    assert as_studio_error(sqlite3.ProgrammingError("closed")).code == "internal"
