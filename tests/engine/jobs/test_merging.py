"""A merge that was broken off between the naming of its file and the end of its job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.protocol.merge import BakeRecipe, MergeInput, MergeRecipe
from engine.protocol.merge_commands import GetMerge, MergeView, SubmitMerge
from engine.settings import Settings
from engine.store.store import open_store
from tests.engine.jobs.conftest import Studio, studio_on
from tests.support.studio_data import make_settings

MERGE = MergeRecipe(
    inputs=(MergeInput(name="easel-ink", weight=0.6), MergeInput(name="easel-soft", weight=0.5)), base="starter"
)
BAKE = BakeRecipe(model="starter", inputs=(MergeInput(name="easel-ink", weight=0.6),))


def made(studio: Studio, recipe: Any) -> MergeView:
    view = studio.call(SubmitMerge(recipe=recipe, file_name="mine"))
    return ended(studio, view)


def ended(studio: Studio, view: MergeView) -> MergeView:
    studio.wait(lambda: studio.call(GetMerge(merge_id=view.id)).status not in ("queued", "running"))
    return studio.call(GetMerge(merge_id=view.id))


def as_killed_before_its_end(settings: Settings, job_id: str) -> None:
    """What the database says when the engine dies after the file has its name: the job runs, and has no report."""
    store = open_store(settings.state_dir)
    payload = {name: value for name, value in (store.jobs.get(job_id).payload or {}).items() if name != "report"}
    store.jobs.set_payload(job_id, payload)
    db = store.jobs._db
    with db.transaction():
        db.execute("UPDATE jobs SET status = 'running', finished_at = NULL WHERE id = ?", (job_id,))
        db.execute("UPDATE tasks SET status = 'running' WHERE job_id = ?", (job_id,))
    store.close()


def content(path: Path) -> dict[str, tuple[bytes, int]]:
    files = [path] if path.is_file() else [file for file in sorted(path.rglob("*")) if file.is_file()]
    return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


@pytest.mark.parametrize("recipe", [MERGE, BAKE], ids=["a file", "a folder"])
def test_its_own_file_is_recognised_and_the_job_is_done(tmp_path: Path, recipe: Any) -> None:
    settings = make_settings(tmp_path)
    with studio_on(settings) as studio:
        view = made(studio, recipe)
        assert view.status == "done", view.error
    out = next(path for path in settings.models_dir.glob("*/mine*"))
    before = content(out)
    as_killed_before_its_end(settings, view.id)
    with studio_on(settings) as studio:
        again = ended(studio, view)
        assert again.status == "done", again.error
        assert again.file_id == view.file_id
    assert content(out) == before
    store = open_store(settings.state_dir)
    assert [notice.code for notice in store.jobs.get(view.id).notices] == ["resumed"]
    store.close()


def test_the_file_of_another_is_never_taken_for_its_own(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    other = MERGE.model_copy(update={"inputs": (MergeInput(name="easel-ink"), MergeInput(name="easel-soft"))})
    with studio_on(settings) as studio:
        view = made(studio, MERGE)
        out = next(path for path in settings.models_dir.glob("*/mine*"))
        out.rename(out.with_name("kept.safetensors"))
        assert made(studio, other).status == "done"
    before = content(out)
    as_killed_before_its_end(settings, view.id)
    with studio_on(settings) as studio:
        again = ended(studio, view)
        assert again.status == "failed"
        assert again.error is not None
        assert again.error.code == "merge_name_taken"
    assert content(out) == before
