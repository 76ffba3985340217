"""Pages of the history: newest first, by keyset, so that page 10 000 costs what page 1 costs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from engine.errors import SpecError
from engine.protocol.commands import ImagePage
from engine.store.db import Db
from engine.store.image_rows import read_image
from engine.store.query import TextQuery, text_query

# Counting half a million matches takes most of a second, and nobody reads the difference.
COUNTED = 50_000
_CURSOR = re.compile(r"(\d{1,18})-(\d{1,18})")


@dataclass(frozen=True)
class Filters:
    """What narrows a search; None leaves a thing open. Times are seconds since the epoch."""

    owner: str | None = None
    model: str | None = None
    favourite: bool | None = None
    tag: str | None = None
    deleted: bool = False
    since: float | None = None
    until: float | None = None


@dataclass
class Statement:
    """A query in the making. `position` is the column that it walks down."""

    source: str
    position: str
    wheres: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)

    def page(self) -> str:
        """The text that reads a page of `:limit` rows."""
        return f"SELECT i.* FROM {self._body()} ORDER BY {self.position} DESC LIMIT :limit"

    def count(self, most: int | None = None) -> str:
        """The text that counts, `most` at the most."""
        if most is None:
            return f"SELECT count(*) FROM {self._body()}"
        return f"SELECT count(*) FROM (SELECT 1 FROM {self._body()} LIMIT {most})"

    def _body(self) -> str:
        return f"{self.source} WHERE {' AND '.join(self.wheres)}"


def search(db: Db, query: str, filters: Filters, *, limit: int, cursor: str | None) -> ImagePage:
    """One page. The total is counted for the first page and carried along in the cursor.

    Matches of a text are counted up to 50 000; a search without text is counted exactly.

    Raises:
        SpecError: `bad_request` for a cursor that no page gave.
    """
    before, total = _read_cursor(cursor)
    words = text_query(query)
    if words is not None and not words.match:
        # Only punctuation: there is nothing to look up, and "everything" would be a wrong answer.
        return ImagePage(images=(), total=0)
    if total is None:
        counting = statement(words, filters)
        total = int(db.value(counting.count(None if words is None else COUNTED), counting.values))
    reading = statement(words, filters, before=before)
    rows = db.rows(reading.page(), {**reading.values, "limit": limit + 1})
    more = len(rows) > limit
    rows = rows[:limit]
    return ImagePage(
        images=tuple(read_image(row) for row in rows),
        next_cursor=f"{rows[-1]['position']}-{total}" if more else None,
        total=total,
    )


def statement(words: TextQuery | None, filters: Filters, *, before: int | None = None) -> Statement:
    """The part that counting and reading share; `before` is the position where the last page ended.

    The most telling index (text, then tag, then the owner's) is walked from the newest row on; CROSS JOIN and INDEXED
    BY keep the planner from another way. What does not match is sorted out in an index that holds all that filters look
    at: looking into the rows themselves, at a million, takes seconds. The plus signs keep the bounds of a page from
    being carried over to `i`, where they would take the place of the equality.
    """
    images = f"images AS i{_index(filters)}"
    if words is not None:
        made = Statement(f"{words.table} AS f CROSS JOIN {images} ON i.position = +f.rowid", "f.rowid")
        made.wheres.append(f"{words.table} MATCH :match")
        made.values["match"] = words.match
        if filters.tag is not None:
            made.wheres.append("EXISTS (SELECT 1 FROM image_tags WHERE tag = :tag AND position = f.rowid)")
    elif filters.tag is not None:
        made = Statement(f"image_tags AS t CROSS JOIN {images} ON i.position = +t.position", "t.position")
        made.wheres.append("t.tag = :tag")
    else:
        made = Statement(images, "i.position")
    made.values["tag"] = filters.tag
    made.wheres.append(f"i.deleted_at IS {'NOT ' if filters.deleted else ''}NULL")
    for name in ("owner", "model"):
        value = getattr(filters, name)
        if value is not None:
            made.wheres.append(f"i.{name} = :{name}")
            made.values[name] = value
    if filters.favourite is not None:
        # Written out, not bound: the index of favourites is known to hold them only for a literal.
        made.wheres.append(f"i.favourite = {int(filters.favourite)}")
    _add_bounds(made, filters, before)
    return made


def _index(filters: Filters) -> str:
    """The index of the owner's pictures that has the filters' columns."""
    if filters.owner is None:
        return ""
    if filters.deleted:
        return " INDEXED BY images_owner_bin"
    if filters.favourite:
        return " INDEXED BY images_owner_favourite"
    return " INDEXED BY " + ("images_owner" if filters.model is None else "images_owner_model")


def _add_bounds(made: Statement, filters: Filters, before: int | None) -> None:
    since = None if filters.since is None else round(filters.since * 1_000_000)
    until = None if filters.until is None else round(filters.until * 1_000_000)
    for name, sign, bound in (("since", ">=", since), ("until", "<", until), ("before", "<", before)):
        if bound is not None:
            made.wheres.append(f"{made.position} {sign} :{name}")
            made.values[name] = bound


def _read_cursor(cursor: str | None) -> tuple[int | None, int | None]:
    if cursor is None:
        return None, None
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise SpecError("bad_request", "This page of the history does not exist.", "Start again from the first page.")
    return int(found[1]), int(found[2])
