"""HistoryStore: finished pictures. The files are the truth; favourites, tags, owners and the bin live only here."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from engine.errors import ConflictError, NotFoundError
from engine.protocol.commands import LOCAL_OWNER, ImagePage
from engine.protocol.jobs import ImageView, Rebuilt
from engine.store.db import Db, Row
from engine.store.image_rows import add_image, clean_tags, index_image, read_image, remove_images
from engine.store.rebuild import replace_all
from engine.store.rows import list_text
from engine.store.search import Filters, search


@dataclass(frozen=True)
class Located:
    """Where a picture lies, relative to the outputs folder, and whose it is."""

    file_name: str
    media_type: str
    owner: str


class HistoryStore:
    """The table `images` and its text indexes.

    `owner` None means anybody's. Another's picture is unknown (NotFoundError `image_unknown`), as is one in the bin.
    """

    def __init__(self, db: Db) -> None:
        self._db = db

    # --- adding ----------------------------------------------------------------------------------------------------

    def record(self, image: ImageView, *, media_type: str, owner: str, finish_task: bool = True) -> ImageView:
        """Enter a picture and mark its task done, in one transaction; the picture as it is stored.

        A second time with the same id adds nothing: the first row stays, only the owner and the place in the job are
        set (a rebuild may have found the file before its row was written).

        Raises:
            ConflictError: `in_use` when another picture has this name; see `free_name`.
        """
        with self._db.transaction():
            if self._db.value("SELECT 1 FROM images WHERE id = ?", (image.id,)):
                self._db.execute(
                    "UPDATE images SET owner = ?, media_type = ?, job_id = ?, job_index = ?, seconds = ? WHERE id = ?",
                    (owner, media_type, image.job_id, image.job_index, image.seconds, image.id),
                )
            else:
                if self._name_taken(image.name):
                    raise ConflictError(
                        "in_use",
                        f"Another picture of the history is called {image.name}.",
                        "Put {id} or {time} into the pattern for names.",
                    )
                add_image(self._db, image, media_type=media_type, owner=owner)
            if finish_task:
                self._db.execute(
                    "UPDATE tasks SET status = 'done', file_name = ? WHERE job_id = ? AND job_index = ?",
                    (image.name, image.job_id, image.job_index),
                )
            stored = self._db.rows("SELECT * FROM images WHERE id = ?", (image.id,))
            return read_image(stored[0])

    def free_name(self, name: str) -> str:
        """`name`, or with a number added where the history (the bin too) or a task has that name already."""
        path = PurePosixPath(name)
        free, number = name, 1
        while self._name_taken(free) or self._db.value("SELECT 1 FROM tasks WHERE file_name = ?", (free,)):
            number += 1
            free = str(path.with_name(f"{path.stem}_{number}{path.suffix}"))
        return free

    def replace_all_from(self, images: Iterable[ImageView], *, owner: str = LOCAL_OWNER) -> Rebuilt:
        """Make the history what the files say; how many pictures came and went. See engine.store.rebuild."""
        return replace_all(self._db, images, owner=owner)

    # --- reading ---------------------------------------------------------------------------------------------------

    def get(self, image_id: str, owner: str | None = None) -> ImageView:
        """One picture."""
        return read_image(self._row(image_id, owner))

    def for_job(self, job_id: str) -> list[ImageView]:
        """The pictures of a job, in its order."""
        return self.for_jobs([job_id])[job_id]

    def for_jobs(self, job_ids: Sequence[str]) -> dict[str, list[ImageView]]:
        """The pictures of several jobs at once, each in the job's order."""
        found: dict[str, list[ImageView]] = {job_id: [] for job_id in job_ids}
        for row in self._db.rows(
            "SELECT images.* FROM json_each(?) AS wanted JOIN images ON images.job_id = wanted.value "
            "WHERE deleted_at IS NULL ORDER BY job_id, job_index",
            (json.dumps([*found]),),
        ):
            found[row["job_id"]].append(read_image(row))
        return found

    def search(
        self,
        owner: str | None,
        query: str = "",
        *,
        model: str | None = None,
        favourite: bool | None = None,
        tag: str | None = None,
        deleted: bool = False,
        since: float | None = None,
        until: float | None = None,
        limit: int = 60,
        cursor: str | None = None,
    ) -> ImagePage:
        """A page of pictures, newest first, that match every word of `query` and every filter.

        `deleted` looks into the bin instead; `since` and `until` are seconds since the epoch. No `query` raises.

        Raises:
            SpecError: `bad_request` for a cursor that no page gave.
        """
        filters = Filters(owner, model, favourite, tag, deleted, since, until)
        return search(self._db, query, filters, limit=limit, cursor=cursor)

    def locate(self, name: str, owner: str | None = None) -> Located:
        """The file behind a name under `outputs/`; only names of rows that are not in the bin."""
        row = self._db.row("SELECT * FROM images WHERE name = ? AND deleted_at IS NULL", (name,))
        if row is None or (owner is not None and row["owner"] != owner):
            raise _unknown()
        return Located(row["name"], row["media_type"], row["owner"])

    def names(self) -> set[str]:
        """The names of all pictures, those in the bin too."""
        return {row["name"] for row in self._db.rows("SELECT name FROM images")}

    def models(self, owner: str) -> list[str]:
        """The models that the owner's pictures were made with, sorted, for a filter to choose from."""
        # From one model to the next along the index: DISTINCT would read the entry of every picture.
        rows = self._db.rows(
            """WITH RECURSIVE found (model) AS (
                SELECT min(model) FROM images WHERE owner = :owner AND model > ''
                UNION ALL
                SELECT (SELECT min(model) FROM images WHERE owner = :owner AND model > found.model)
                FROM found WHERE found.model IS NOT NULL
            ) SELECT model FROM found WHERE model IS NOT NULL""",
            {"owner": owner},
        )
        return [row["model"] for row in rows]

    def tags(self, owner: str) -> list[str]:
        """The tags of the owner's pictures, sorted, for a filter to choose from."""
        rows = self._db.rows(
            "SELECT DISTINCT tag FROM image_tags JOIN images USING (position) "
            "WHERE owner = ? AND deleted_at IS NULL ORDER BY tag",
            (owner,),
        )
        return [row["tag"] for row in rows]

    # --- marking and the bin ---------------------------------------------------------------------------------------

    def mark(
        self,
        image_id: str,
        owner: str | None = None,
        *,
        favourite: bool | None = None,
        tags: tuple[str, ...] | None = None,
    ) -> ImageView:
        """Set the favourite mark or replace the tags; None leaves a thing as it is."""
        with self._db.transaction():
            row = self._row(image_id, owner)
            if favourite is not None:
                self._db.execute("UPDATE images SET favourite = ? WHERE id = ?", (int(favourite), image_id))
            if tags is not None:
                row["tags"] = list_text(clean_tags(tags))
                self._db.execute("UPDATE images SET tags = ? WHERE id = ?", (row["tags"], image_id))
                index_image(self._db, row)
            return read_image(self._row(image_id, None))

    def delete(self, image_ids: Sequence[str], owner: str | None = None) -> list[str]:
        """Put pictures into the bin; the names of the files to move there. Unknown ones and those in it are left out.

        Raises:
            NotFoundError: `image_unknown` when none of them is the owner's.
        """
        return self._set_deleted(image_ids, owner, time.time())

    def restore(self, image_ids: Sequence[str], owner: str | None = None) -> list[str]:
        """Take pictures out of the bin; the names of the files to move back. Raises as `delete` does."""
        return self._set_deleted(image_ids, owner, None)

    def purge(self, older_than: float) -> list[str]:
        """Forget what was put into the bin before that time (seconds since the epoch); the files to delete."""
        with self._db.transaction():
            rows = self._db.rows(
                "SELECT position, name FROM images WHERE deleted_at IS NOT NULL AND deleted_at < ?", (older_than,)
            )
            remove_images(self._db, [row["position"] for row in rows])
        return [row["name"] for row in rows]

    # --- inside ----------------------------------------------------------------------------------------------------

    def _set_deleted(self, image_ids: Sequence[str], owner: str | None, when: float | None) -> list[str]:
        with self._db.transaction():
            rows = self._db.rows(
                "SELECT images.* FROM json_each(?) AS wanted JOIN images ON images.id = wanted.value",
                (json.dumps([*dict.fromkeys(image_ids)]),),
            )
            rows = [row for row in rows if owner is None or row["owner"] == owner]
            if image_ids and not rows:
                raise _unknown()
            changed = [row for row in rows if (row["deleted_at"] is None) == (when is not None)]
            for row in changed:
                self._db.execute("UPDATE images SET deleted_at = ? WHERE position = ?", (when, row["position"]))
        return [row["name"] for row in changed]

    def _row(self, image_id: str, owner: str | None) -> Row:
        row = self._db.row("SELECT * FROM images WHERE id = ? AND deleted_at IS NULL", (image_id,))
        if row is None or (owner is not None and row["owner"] != owner):
            raise _unknown()
        return row

    def _name_taken(self, name: str) -> bool:
        return self._db.value("SELECT 1 FROM images WHERE name = ?", (name,)) is not None


def _unknown() -> NotFoundError:
    return NotFoundError(
        "image_unknown",
        "There is no such picture in the history.",
        "It may be in the bin, or belong to somebody else.",
    )
