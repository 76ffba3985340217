"""Rows of the table `images`: reading, adding, and what makes them quick to find."""

from __future__ import annotations

import re
from pathlib import PurePosixPath, PureWindowsPath

from engine.errors import InternalError
from engine.protocol.jobs import ImageView
from engine.store.db import Db, Row
from engine.store.query import spaceless_text
from engine.store.rows import list_text, read_list, read_spec, spec_text

_SECOND = 1_000_000
_SPACES = re.compile(r"\s+")


def read_image(row: Row) -> ImageView:
    """The picture that a row describes."""
    return ImageView(
        id=row["id"],
        job_id=row["job_id"],
        job_index=row["job_index"],
        name=row["name"],
        url=row["url"],
        seed=row["seed"],
        width=row["width"],
        height=row["height"],
        created_at=row["created_at"],
        spec=read_spec(row["spec"]),
        infotext=row["infotext"],
        favourite=bool(row["favourite"]),
        tags=read_list(row["tags"]),
        seconds=row["seconds"],
    )


def add_image(db: Db, image: ImageView, *, media_type: str, owner: str) -> int:
    """Add a row and its text; its position. Inside a transaction."""
    position = _free_position(db, image.created_at)
    row = {
        **image_columns(image, media_type=media_type),
        "position": position,
        "owner": owner,
        "favourite": int(image.favourite),
        "tags": list_text(clean_tags(image.tags)),
    }
    db.insert("images", row)
    index_image(db, row)
    return position


def image_columns(image: ImageView, *, media_type: str) -> Row:
    """The columns that come from the file; owner, favourite and tags are the person's and are not among them."""
    _check_name(image.name)
    return {
        "id": image.id,
        "job_id": image.job_id,
        "job_index": image.job_index,
        "name": image.name,
        "url": image.url,
        "media_type": media_type,
        "seed": image.seed,
        "width": image.width,
        "height": image.height,
        "created_at": image.created_at,
        "seconds": image.seconds,
        "model": image.spec.model or "",
        "prompt": image.spec.prompt,
        "negative_prompt": image.spec.negative_prompt or "",
        "infotext": image.infotext,
        "spec": spec_text(image.spec),
    }


def index_image(db: Db, row: Row) -> None:
    """Bring `image_tags` and `images_cjk` in step with a row (`images_fts` has triggers). Inside a transaction."""
    db.execute("DELETE FROM image_tags WHERE position = ?", (row["position"],))
    for tag in read_list(row["tags"]):
        db.execute("INSERT INTO image_tags (tag, position) VALUES (?, ?)", (tag, row["position"]))
    db.execute("DELETE FROM images_cjk WHERE rowid = ?", (row["position"],))
    text = spaceless_text(row["prompt"], row["negative_prompt"], row["model"], row["infotext"], row["tags"])
    if text is not None:
        db.execute("INSERT INTO images_cjk (rowid, text) VALUES (?, ?)", (row["position"], text))


def remove_images(db: Db, positions: list[int]) -> None:
    """Delete rows, their text and their tags. Inside a transaction."""
    for position in positions:
        db.execute("DELETE FROM images_cjk WHERE rowid = ?", (position,))
        db.execute("DELETE FROM images WHERE position = ?", (position,))


def clean_tags(tags: tuple[str, ...]) -> tuple[str, ...]:
    """Tags with single spaces, without empty and repeated ones, in the order given."""
    return tuple(dict.fromkeys(tag for tag in (_SPACES.sub(" ", tag).strip() for tag in tags) if tag))


def _free_position(db: Db, created_at: float) -> int:
    """Microseconds since the epoch, moved on past pictures that have the same ones."""
    position = max(0, round(created_at * _SECOND))
    while db.value("SELECT 1 FROM images WHERE position = ?", (position,)):
        # Copied files may share one time by the thousand: jump to the end of their row at once.
        last = db.value(
            "SELECT max(position) FROM images WHERE position >= ? AND position < ?", (position, position + _SECOND)
        )
        position = int(last) + 1
    return position


def _check_name(name: str) -> None:
    """A row's name is joined to the outputs folder and served: it may not lead anywhere else."""
    parts = PurePosixPath(name).parts
    unsafe = not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name
    if unsafe or PureWindowsPath(name).drive or parts[0].startswith("."):
        raise InternalError("internal", f"A picture may not be called “{name}”.", "Change the pattern for names.")
