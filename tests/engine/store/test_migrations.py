"""From the first schema with data in it to today's; one transaction a step; a copy first; never backwards."""

from __future__ import annotations

import ast
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from engine.errors import ConflictError, StorageError
from engine.store import migrations
from engine.store.db import Db
from engine.store.migrations import MIGRATIONS, m0001_first_schema
from engine.store.migrator import migrate
from engine.store.store import Store, open_store
from tests.engine.store.making import new_job

FIRST_SCHEMA = Path(__file__).parent / "fixtures" / "first_schema.sql"


def _first_store(folder: Path) -> Path:
    """A studio.db as the first released schema wrote it."""
    file = folder / "studio.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(FIRST_SCHEMA.read_text(encoding="utf-8"))
    return file


def _shape(file: Path) -> set[tuple[str, str, str]]:
    """Every table, index and trigger with its statement, whatever its line breaks."""
    with closing(sqlite3.connect(file)) as connection:
        rows = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {(kind, name, " ".join(sql.split())) for kind, name, sql in rows}


def _steps_of(file: Path) -> list[str]:
    with closing(sqlite3.connect(file)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM migrations ORDER BY id")]


def test_the_first_schema_with_data_becomes_todays(tmp_path: Path) -> None:
    file = _first_store(tmp_path)
    store = open_store(tmp_path)

    done = store.jobs.get("job-done", "local")
    assert (done.status, done.evaluations, done.request_id, done.kind) == ("done", 20, "r-1", "generate")
    assert done.notices[0].message == "Steps 200 became 150."
    assert done.tasks[0].status == "done"
    assert [(job.id, job.status, job.attempts) for job in store.jobs.unfinished()] == [
        ("job-running", "running", 1),
        ("job-queued", "queued", 0),
    ]
    failed = store.jobs.get("job-failed").error
    assert failed is not None
    assert failed.code == "disk_full"

    fox = store.history.get("job-done-p0", "local")
    assert (fox.favourite, fox.tags, fox.spec.prompt, fox.seconds) == (True, ("best",), "a red fox in snow", 1.5)
    assert [image.id for image in store.history.search("local", "fox snow best").images] == [fox.id]
    assert [image.id for image in store.history.search("ann", "夏").images] == ["img-cjk"]
    assert [image.id for image in store.history.search("local", tag="best").images] == [fox.id]
    assert store.history.restore(["img-bin"], "local") == ["c.png"]
    assert store.library.get("/models/a.safetensors", 100, 5) == {"family": "sd1", "hash": "ab" * 32}
    assert store.values.get("local", "form.last") == {"steps": 20}
    assert [event.payload for event in store.events.recent(5, "job-done")] == [{"status": "done"}]
    assert store.measurements.recent("step_seconds", "starter", 1)[0].value == 0.25
    assert store.jobs.submit(new_job("local", request_id="r-2")).id == "job-queued"
    store.jobs.submit(new_job())
    store.close()

    fresh = tmp_path / "fresh"
    open_store(fresh).close()
    assert _shape(file) == _shape(fresh / "studio.db"), "an old store and a new one have one shape"
    assert _steps_of(file) == [step.__name__ for step in MIGRATIONS]


def test_the_first_step_is_never_edited(tmp_path: Path) -> None:
    db = Db(tmp_path / "now.db")
    migrate(db, [m0001_first_schema])
    db.close()
    assert _shape(tmp_path / "now.db") == _shape(_first_store(tmp_path)), "add a step instead"


def test_steps_import_nothing_of_ours() -> None:
    tree = ast.parse(Path(migrations.__file__).read_text(encoding="utf-8"))
    imported = {
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or "."] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert imported == {"__future__", "collections.abc", "typing"}
    assert len({step.__name__ for step in MIGRATIONS}) == len(MIGRATIONS)


# --- the runner, with steps of the future ----------------------------------------------------------------------------


def m9001_add_rating(db: Any) -> None:
    db["images"].add_column("rating", int)


def m9002_fails_half_way(db: Any) -> None:
    db.execute("UPDATE images SET rating = 5")
    db.execute("CREATE TABLE half (x)")
    raise RuntimeError("a fault in a migration")


def m9003_orphans(db: Any) -> None:
    db.execute("DELETE FROM jobs")


FUTURE = (*MIGRATIONS, m9001_add_rating)


def _upgrade(folder: Path, steps: tuple[Any, ...]) -> list[str]:
    db = Db(folder / "studio.db")
    try:
        return migrate(db, steps)
    finally:
        db.close()


def test_a_copy_is_made_before_anything_changes(tmp_path: Path) -> None:
    _first_store(tmp_path)
    open_store(tmp_path).close()
    before = _shape(tmp_path / "studio.db")
    first_copy = tmp_path / f"studio.before-{MIGRATIONS[1].__name__}.db"
    assert _steps_of(first_copy) == ["m0001_first_schema"]
    assert _upgrade(tmp_path, FUTURE) == ["m9001_add_rating"]
    assert _upgrade(tmp_path, FUTURE) == [], "once"
    copy = tmp_path / "studio.before-m9001_add_rating.db"
    assert _shape(copy) == before
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (4,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    # The copy is a whole store: put in the place of studio.db it opens.
    (tmp_path / "back").mkdir()
    copy.rename(tmp_path / "back" / "studio.db")
    store = open_store(tmp_path / "back")
    assert store.jobs.get("job-done").status == "done"
    store.close()


def test_a_new_store_needs_no_copy(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    assert [file.name for file in tmp_path.iterdir()] == ["studio.db"]


def test_a_failing_step_leaves_no_trace_and_is_tried_again(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    with pytest.raises(RuntimeError, match="a fault in a migration"):
        _upgrade(tmp_path, (*FUTURE, m9002_fails_half_way))
    assert _steps_of(tmp_path / "studio.db") == [step.__name__ for step in FUTURE], "the step before it stays"
    assert not [name for _, name, _ in _shape(tmp_path / "studio.db") if name == "half"]
    with pytest.raises(RuntimeError):
        _upgrade(tmp_path, (*FUTURE, m9002_fails_half_way))


def test_a_store_of_a_newer_easel_is_refused_untouched(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    _upgrade(tmp_path, FUTURE)
    before = (tmp_path / "studio.db").read_bytes()
    with pytest.raises(ConflictError) as caught:
        open_store(tmp_path)
    assert caught.value.code == "store_too_new"
    assert (tmp_path / "studio.db").read_bytes() == before


def test_a_step_that_orphans_rows_is_noticed(tmp_path: Path) -> None:
    _first_store(tmp_path)
    with pytest.raises(StorageError, match="belong to nothing"):
        _upgrade(tmp_path, (*MIGRATIONS, m9003_orphans))


def test_no_room_for_the_copy_means_no_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_store(tmp_path).close()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    # The real fault needs a real full disk; fsync is where it shows at the latest.
    monkeypatch.setattr("engine.store.migrator.os.fsync", full)
    with pytest.raises(StorageError) as caught:
        _upgrade(tmp_path, FUTURE)
    assert caught.value.code == "disk_full"
    assert _steps_of(tmp_path / "studio.db") == [step.__name__ for step in MIGRATIONS]
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".db"], "no unfinished copy is left"


def test_only_the_newest_two_copies_are_kept(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    steps: tuple[Any, ...] = MIGRATIONS
    for number in range(4):

        def step(db: Any) -> None:
            """Nothing to do."""

        step.__name__ = f"m910{number}_nothing"
        steps = (*steps, step)
        _upgrade(tmp_path, steps)
    assert sorted(file.name for file in tmp_path.glob("*.before-*")) == [
        "studio.before-m9102_nothing.db",
        "studio.before-m9103_nothing.db",
    ]


# --- the nightly copy ------------------------------------------------------------------------------------------------


def test_the_nightly_copy_is_whole_and_replaced(store: Store, tmp_path: Path) -> None:
    first = store.jobs.submit(new_job())
    copy = store.backup()
    assert copy == store.path.with_name("studio.backup.db")
    second = store.jobs.submit(new_job())
    assert store.backup() == copy
    assert sorted(file.name for file in copy.parent.glob("*backup*")) == ["studio.backup.db"]
    (tmp_path / "restored").mkdir()
    copy.rename(tmp_path / "restored" / "studio.db")
    restored = open_store(tmp_path / "restored")
    assert [job.id for job in restored.jobs.unfinished()] == [first.id, second.id]
    restored.close()


def test_the_copy_holds_nobody_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    job = new_job()
    import engine.store.migrator as migrator

    sync = migrator._sync

    def sync_while_a_job_comes(file: Path) -> None:
        # In the middle of the copy: a writer needs no turn of the copier's.
        store.jobs.submit(job)
        sync(file)

    monkeypatch.setattr(migrator, "_sync", sync_while_a_job_comes)
    store.backup()
    assert store.jobs.get(job.id).status == "queued"
