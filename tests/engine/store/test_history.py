"""Finished pictures: recorded once, private, marked, binned, rebuilt."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import ConflictError, InternalError, NotFoundError, StudioError
from engine.protocol.jobs import ImageView, Rebuilt
from engine.store.store import Store, open_store
from tests.engine.store.making import image_of, new_image, new_job

PNG = "image/png"


def _add(store: Store, *images: ImageView, owner: str = "ann") -> list[str]:
    for image in images:
        store.history.record(image, media_type=PNG, owner=owner)
    return [image.id for image in images]


def _found(store: Store, query: str = "", owner: str | None = "ann", **filters: object) -> list[str]:
    return [image.id for image in store.history.search(owner, query, **filters).images]  # type: ignore[arg-type]


def test_a_picture_comes_back_whole(store: Store) -> None:
    image = new_image("猫 and “fox”", favourite=True, tags=("a b", "ü"), seconds=None, name="2026/x y.png")
    assert store.history.record(image, media_type=PNG, owner="ann") == image
    assert store.history.get(image.id, "ann") == image
    assert store.history.search("ann").images == (image,)


def test_recording_finishes_the_task_once(store: Store) -> None:
    job = store.jobs.submit(new_job(count=2))
    image = image_of(job, 1)
    for _ in range(2):
        assert store.history.record(image, media_type=PNG, owner="ann") == image
    assert [task.status for task in store.jobs.get(job.id).tasks] == ["queued", "done"]
    assert store.jobs.get(job.id).tasks[1].file_name == image.name
    assert store.history.for_job(job.id) == [image]
    # A picture that was made again after a crash between row and answer: the first row stays.
    again = image.model_copy(update={"name": "second.png", "url": "/outputs/second.png"})
    assert store.history.record(again, media_type=PNG, owner="ann").name == image.name
    assert store.history.search("ann").total == 1


def test_recording_without_finishing_leaves_the_task(store: Store) -> None:
    job = store.jobs.submit(new_job())
    store.history.record(image_of(job), media_type=PNG, owner="ann", finish_task=False)
    assert store.jobs.get(job.id).tasks[0].status == "queued"


def test_a_name_belongs_to_one_picture(store: Store) -> None:
    job = store.jobs.submit(new_job())
    _add(store, new_image(name="a.png"))
    with pytest.raises(ConflictError) as caught:
        store.history.record(image_of(job, name="a.png"), media_type=PNG, owner="ann")
    assert caught.value.code == "in_use"
    assert store.jobs.get(job.id).tasks[0].status == "queued", "refused as a whole"
    store.jobs.set_task(job.id, 0, file_name="a_2.png")
    assert store.history.free_name("a.png") == "a_3.png"
    assert store.history.free_name("new/b.png") == "new/b.png"


@pytest.mark.parametrize(
    "name", ["../up.png", "/etc/x.png", "a/../../b.png", "C:/x.png", "a\\b.png", ".easel/x.png", ""]
)
def test_a_name_that_leads_elsewhere_is_refused(store: Store, name: str) -> None:
    with pytest.raises(InternalError):
        _add(store, new_image(name=name))
    assert store.history.names() == set()


def test_another_owners_picture_is_unknown(store: Store) -> None:
    image = new_image(name="mine.png")
    _add(store, image)
    for call in (
        lambda: store.history.get(image.id, "bob"),
        lambda: store.history.locate("mine.png", "bob"),
        lambda: store.history.mark(image.id, "bob", favourite=True),
        lambda: store.history.delete([image.id], "bob"),
        lambda: store.history.restore([image.id], "bob"),
        lambda: store.history.get("nothing", "ann"),
        lambda: store.history.locate("../mine.png"),
    ):
        with pytest.raises(NotFoundError) as caught:
            call()
        assert caught.value.code == "image_unknown"
    assert _found(store, owner="bob") == [] == _found(store, "fox", owner="bob")
    assert _found(store, owner=None) == [image.id]
    assert store.history.get(image.id) == image, "untouched"


def test_locate(store: Store) -> None:
    _add(store, new_image(name="a/b.png"))
    found = store.history.locate("a/b.png", "ann")
    assert (found.file_name, found.media_type, found.owner) == ("a/b.png", PNG, "ann")


def test_marks(store: Store) -> None:
    image = new_image()
    other = new_image()
    _add(store, image, other)
    assert store.history.mark(image.id, "ann", favourite=True).favourite
    marked = store.history.mark(image.id, "ann", tags=("  best \n of ", "", "best of", "夏"))
    assert (marked.favourite, marked.tags) == (True, ("best of", "夏"))
    assert _found(store, favourite=True) == [image.id] == _found(store, favourite=True, tag="夏")
    assert _found(store, favourite=False) == [other.id]
    assert _found(store, "夏") == [image.id] == _found(store, "best")
    assert _found(store, tag="best") == [], "a tag is matched as a whole"
    assert _found(store, "fox", tag="best of") == [image.id] == _found(store, "夏", tag="夏")
    assert _found(store, "castle", tag="best of") == _found(store, tag="夏", owner="bob") == []
    assert store.history.tags("ann") == ["best of", "夏"]
    assert store.history.tags("bob") == []
    store.history.mark(image.id, "ann", favourite=False, tags=())
    assert _found(store, "夏") == _found(store, "best") == _found(store, favourite=True) == []


def test_filters(store: Store) -> None:
    old = new_image(model="starter", created_at=1000.0)
    new = new_image(model="sdxl-base", created_at=2000.5)
    _add(store, old, new)
    assert _found(store) == [new.id, old.id]
    assert _found(store, model="starter") == [old.id]
    assert _found(store, "sdxl") == [new.id], "the model's name is text too"
    assert _found(store, since=1000.0, until=2000.5) == [old.id]
    assert _found(store, "fox", since=2000.5) == [new.id]
    assert _found(store, "fox", model="starter") == [old.id]
    assert _found(store, "fox", model="starter", favourite=True) == []
    assert store.history.models("ann") == ["sdxl-base", "starter"]
    assert store.history.models("bob") == []


@pytest.mark.parametrize("query", ["", "fox", "狐"])
def test_pages_have_no_gaps_and_no_repeats(store: Store, query: str) -> None:
    # Seven of ten share one time, as copied files do.
    times = [5000.0] * 7 + [5001.0, 5002.0, 5003.0]
    ids = _add(store, *(new_image("a fox 狐", created_at=time) for time in times))
    seen: list[str] = []
    cursor = None
    for _ in range(4):
        page = store.history.search("ann", query, limit=3, cursor=cursor)
        assert page.total == 10
        seen += [image.id for image in page.images]
        cursor = page.next_cursor
        # Meanwhile a picture is made, and one that was seen is deleted: nothing moves.
        _add(store, new_image("a fox 狐", created_at=9000.0 + len(seen)))
        store.history.delete([seen[-1]], "ann")
    assert cursor is None, "four pages of three"
    assert seen == [*reversed(ids)]


@pytest.mark.parametrize("cursor", ["", "x", "1", "1-2-3", "-1-2", "9" * 40 + "-1"])
def test_a_cursor_that_no_page_gave(store: Store, cursor: str) -> None:
    with pytest.raises(StudioError) as caught:
        store.history.search("ann", cursor=cursor)
    assert caught.value.code == "bad_request"


def test_the_bin(store: Store) -> None:
    kept, gone = new_image(name="kept.png"), new_image("a green fox 狐", name="gone.png", tags=("t",), favourite=True)
    _add(store, kept, gone)
    assert store.history.delete([gone.id, "unknown"], "ann") == ["gone.png"]
    assert store.history.delete([gone.id], "ann") == [], "twice is once"
    assert _found(store) == _found(store, "fox") == [kept.id]
    assert _found(store, "狐") == _found(store, favourite=True) == []
    assert _found(store, deleted=True) == _found(store, "green", deleted=True) == [gone.id]
    assert store.history.for_job(gone.job_id) == []
    with pytest.raises(NotFoundError):
        store.history.locate("gone.png")
    assert store.history.names() == {"kept.png", "gone.png"}, "the bin still holds the name"

    assert store.history.restore([gone.id, kept.id], "ann") == ["gone.png"]
    assert store.history.get(gone.id, "ann") == gone, "with its marks"
    assert _found(store, "狐") == [gone.id]


def test_purging(store: Store) -> None:
    kept, gone = new_image(name="kept.png"), new_image("only here 狐", name="gone.png", tags=("t",))
    _add(store, kept, gone)
    store.history.delete([gone.id], "ann")
    assert store.history.purge(gone.created_at - 60) == [], "not old enough"
    assert store.history.purge(gone.created_at + 3600) == ["gone.png"]
    assert store.history.names() == {"kept.png"}
    assert _found(store, "only", deleted=True) == _found(store, "狐", deleted=True) == []
    assert store.history.get(kept.id) == kept
    db = store.history._db
    assert db.value("SELECT count(*) FROM images_cjk") == db.value("SELECT count(*) FROM image_tags") == 0
    db.execute("INSERT INTO images_fts (images_fts, rank) VALUES ('integrity-check', 1)")


# --- rebuild ---------------------------------------------------------------------------------------------------------


def test_rebuilding_keeps_what_only_the_database_knows(store: Store) -> None:
    marked = new_image(name="marked.png", created_at=1000.0)
    lost = new_image(name="lost.png", created_at=2000.0, tags=("dear",))
    binned = new_image(name="binned.png", created_at=3000.0)
    _add(store, marked, lost, binned)
    store.history.mark(marked.id, "ann", favourite=True, tags=("best",))
    store.history.delete([binned.id], "ann")
    found = new_image("a new 狐", name="found.png", created_at=4000.0)

    files = [found, marked, binned]
    assert store.history.replace_all_from(iter(files), owner="bob") == Rebuilt(count=1, returned=1, removed=1)
    assert store.history.get(marked.id, "ann") == marked.model_copy(update={"favourite": True, "tags": ("best",)})
    assert store.history.get(found.id, "bob") == found
    assert _found(store, "狐", owner="bob") == [found.id]
    assert store.history.get(binned.id, "ann") == binned, "its file is among the outputs"
    assert _found(store, deleted=True) == [lost.id], "a disk that is not plugged in costs no favourite"

    assert store.history.replace_all_from([*files, lost]) == Rebuilt(returned=1)
    assert store.history.get(lost.id, "ann") == lost
    assert store.history.replace_all_from([]) == Rebuilt(removed=4)
    assert store.history.replace_all_from([]) == Rebuilt(), "they are in the bin already"
    assert store.history.search(None).total == 0
    assert store.history.replace_all_from([*files, lost]).count == 0
    assert store.history.search(None).total == 4


def test_rebuilding_from_nothing_finds_owners_through_their_jobs(store: Store) -> None:
    job = store.jobs.submit(new_job("ann"))
    assert store.history.replace_all_from([image_of(job), new_image()], owner="local").count == 2
    assert len(_found(store, owner="ann")) == len(_found(store, owner="local")) == 1


def test_rebuilding_follows_moved_files(store: Store) -> None:
    moved, copied, over, under = (new_image(name=f"{name}.png") for name in ("moved", "copied", "over", "under"))
    _add(store, moved, copied, over, under)
    store.history.mark(moved.id, favourite=True)

    def at(image: ImageView, name: str) -> ImageView:
        return image.model_copy(update={"name": name, "url": f"/outputs/{name}"})

    files = [
        at(copied, "a copy.png"),
        at(moved, "best/moved.png"),
        copied,
        at(over, "under.png"),
        at(moved, "copy2.png"),
    ]
    assert store.history.replace_all_from(files) == Rebuilt(removed=1), "the file of one was written over"
    assert store.history.get(moved.id).name == "best/moved.png"
    assert store.history.get(moved.id).favourite
    assert store.history.get(copied.id).name == "copied.png", "a copy does not take the place of its original"
    assert store.history.get(over.id).name == "under.png"
    assert store.history.names() == {"best/moved.png", "copied.png", "under.png"}


def test_rebuilding_knows_a_file_by_its_name_where_the_id_was_lost(store: Store) -> None:
    known = new_image(name="plain.jpg")
    _add(store, known)
    store.history.mark(known.id, favourite=True)
    stripped = new_image("no id", name="plain.jpg")
    assert store.history.replace_all_from([stripped]).count == 0
    assert store.history.get(stripped.id).favourite
    assert store.history.locate("plain.jpg").media_type == "image/jpeg"
    assert _found(store, "id") == [stripped.id]


def test_what_a_job_saves_during_a_rebuild_stays(store: Store) -> None:
    job = store.jobs.submit(new_job())
    early = image_of(job)
    late = new_image(name="late.png")

    def files() -> object:
        yield early
        # Between reading the folder and the end: one picture of which the scan saw the file before the row, one not.
        _add(store, early, late)

    store.history.replace_all_from(files(), owner="local")  # type: ignore[arg-type]
    assert sorted(_found(store)) == sorted([early.id, late.id])
    assert store.jobs.get(job.id).tasks[0].status == "done"


def test_reading_files_does_not_hold_the_database(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    other = open_store(tmp_path)

    def files() -> object:
        for place in range(3):
            other.jobs.submit(new_job())
            yield new_image(name=f"{place}.png")

    assert store.history.replace_all_from(files()).count == 3  # type: ignore[arg-type]
    store.close()
    other.close()
