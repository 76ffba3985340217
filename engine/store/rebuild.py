"""Rebuilding the history from the pictures themselves, while the studio goes on."""

from __future__ import annotations

import mimetypes
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from engine.protocol.jobs import ImageView, Rebuilt
from engine.store.db import Db, Row
from engine.store.image_rows import add_image, image_columns, index_image, remove_images

CHUNK = 200

Item = TypeVar("Item")


def replace_all(db: Db, images: Iterable[ImageView], *, owner: str) -> Rebuilt:
    """Make the table say what the files say; how many pictures came, came back and went.

    - A picture that is known by its id (or, where the id was lost, by its name) keeps owner, favourite and tags, and
      comes out of the bin, since its file is among the outputs.
    - A new one belongs to the owner of the job that made it, where that is known, else to `owner`.
    - A row whose file was not found goes to the bin, so that a disk that is not plugged in costs no favourite.

    The files are read outside the lock and entered 200 at a time, so jobs go on; what they save meanwhile stays. Killed
    half-way, the table is part old and part new, and another rebuild completes it.
    """
    # Positions of the rows that were there before, as long as their file was not found.
    rows = db.rows("SELECT position, deleted_at FROM images")
    missing: set[int] = {row["position"] for row in rows}
    binned: set[int] = {row["position"] for row in rows if row["deleted_at"] is not None}
    moved: dict[int, ImageView] = {}
    added = 0
    for chunk in _chunks(images):
        with db.transaction():
            for image in chunk:
                known = _find(db, image)
                if known is None:
                    add_image(db, image, media_type=_media_type(image.name), owner=_maker(db, image) or owner)
                    added += 1
                elif known["position"] not in missing:
                    # A copy of a picture that was found already, or one that a job saved meanwhile.
                    continue
                elif known["name"] == image.name:
                    _renew(db, known, image)
                    missing.discard(known["position"])
                else:
                    # Moved, unless the file turns up under the old name too: then this one is a copy.
                    moved.setdefault(known["position"], image)
    overwritten = _follow(db, moved, missing)
    _bin(db, missing)
    gone = missing | overwritten
    return Rebuilt(count=added, returned=len(binned - gone), removed=len(gone - binned))


def _follow(db: Db, moved: dict[int, ImageView], missing: set[int]) -> set[int]:
    """Give rows the new names of their files; the rows that are gone because their file was written over by another."""
    overwritten: set[int] = set()
    for chunk in _chunks(moved.items()):
        with db.transaction():
            for position, image in chunk:
                taken = db.value("SELECT position FROM images WHERE name = ?", (image.name,))
                if position not in missing or (taken is not None and taken not in missing):
                    continue
                if taken is not None:
                    # Its file was written over by this picture.
                    remove_images(db, [taken])
                    missing.discard(taken)
                    overwritten.add(taken)
                known = db.row("SELECT * FROM images WHERE position = ?", (position,))
                if known is not None:
                    _renew(db, known, image)
                    missing.discard(position)
    return overwritten


def _bin(db: Db, positions: set[int]) -> None:
    now = time.time()
    for chunk in _chunks(positions):
        with db.transaction():
            db.execute_many(
                "UPDATE images SET deleted_at = ? WHERE position = ? AND deleted_at IS NULL",
                [(now, position) for position in chunk],
            )


def _find(db: Db, image: ImageView) -> Row | None:
    return db.row("SELECT * FROM images WHERE id = ?", (image.id,)) or db.row(
        "SELECT * FROM images WHERE name = ?", (image.name,)
    )


def _renew(db: Db, known: Row, image: ImageView) -> None:
    columns = image_columns(image, media_type=_media_type(image.name))
    if columns["seconds"] is None:
        del columns["seconds"]
    sets = ", ".join(f"{name} = :{name}" for name in columns)
    row = {**known, **columns}
    db.execute(f"UPDATE images SET {sets}, deleted_at = NULL WHERE position = :position", row)
    index_image(db, row)


def _maker(db: Db, image: ImageView) -> str | None:
    found: str | None = db.value(
        "SELECT jobs.owner FROM tasks JOIN jobs ON jobs.id = tasks.job_id WHERE tasks.image_id = ?", (image.id,)
    )
    return found


def _media_type(name: str) -> str:
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


def _chunks(items: Iterable[Item]) -> Iterator[list[Item]]:
    remaining = iter(items)
    while chunk := list(islice(remaining, CHUNK)):
        yield chunk
