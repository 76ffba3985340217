"""Pages of the history: newest first, by keyset, so that page 10 000 costs what page 1 costs."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from engine.errors import SpecError
from engine.protocol.commands import ImagePage
from engine.store.db import Db
from engine.store.image_rows import read_image
from engine.store.query import TextQuery, text_query

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
    """A query in the making."""

    source: str
    wheres: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)

    def sql(self, columns: str, tail: str = "") -> str:
        """The whole text."""
        return f"SELECT {columns} FROM {self.source} WHERE {' AND '.join(self.wheres)} {tail}"


def search(db: Db, query: str, filters: Filters, *, limit: int, cursor: str | None) -> ImagePage:
    """One page. The total is counted for the first page and carried along in the cursor.

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
        total = int(db.value(counting.sql("count(*)"), counting.values))
    page = statement(words, filters, before=before)
    rows = db.rows(
        page.sql("i.*", f"ORDER BY {'f.rowid' if words else 'i.position'} DESC LIMIT :limit"),
        {**page.values, "limit": limit + 1},
    )
    more = len(rows) > limit
    rows = rows[:limit]
    return ImagePage(
        images=tuple(read_image(row) for row in rows),
        next_cursor=f"{rows[-1]['position']}-{total}" if more else None,
        total=total,
    )


def statement(words: TextQuery | None, filters: Filters, *, before: int | None = None) -> Statement:
    """The part that counting and reading share; `before` is the position where the last page ended.

    The text index is walked from the newest row on, and its rows are looked up one by one (CROSS JOIN keeps the planner
    from turning that around and sorting).
    """
    if words is None:
        made, position = Statement("images AS i"), "i.position"
    else:
        made = Statement(f"{words.table} AS f CROSS JOIN images AS i ON i.position = f.rowid")
        position = "f.rowid"
        made.wheres.append(f"{words.table} MATCH :match")
        made.values["match"] = words.match
    made.wheres.append(f"i.deleted_at IS {'NOT ' if filters.deleted else ''}NULL")
    for name in ("owner", "model"):
        value = getattr(filters, name)
        if value is not None:
            made.wheres.append(f"i.{name} = :{name}")
            made.values[name] = value
    if filters.favourite is not None:
        # Written out, not bound: the planner uses the index of favourites only for a literal.
        made.wheres.append(f"i.favourite = {int(filters.favourite)}")
    if filters.tag is not None:
        made.wheres.append("instr(i.tags, :tag_text) AND :tag IN (SELECT value FROM json_each(i.tags))")
        made.values |= {"tag": filters.tag, "tag_text": json.dumps(filters.tag, ensure_ascii=False)}
    bounds = (("since", ">=", filters.since), ("until", "<", filters.until))
    for name, sign, seconds in bounds:
        if seconds is not None:
            made.wheres.append(f"{position} {sign} :{name}")
            made.values[name] = round(seconds * 1_000_000)
    if before is not None:
        made.wheres.append(f"{position} < :before")
        made.values["before"] = before
    return made


def _read_cursor(cursor: str | None) -> tuple[int | None, int | None]:
    if cursor is None:
        return None, None
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise SpecError("bad_request", "This page of the history does not exist.", "Start again from the first page.")
    return int(found[1]), int(found[2])
