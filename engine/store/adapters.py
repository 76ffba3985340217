"""AdapterStore: finding adapters by words, which were used for what, and named stacks."""

from __future__ import annotations

import hashlib
import json
import time
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from engine.errors import NotFoundError, SpecError
from engine.protocol.adapters import NamedStack
from engine.protocol.specs import AdapterRef
from engine.store.db import Db, Row
from engine.store.query import spaced

# How much a match counts where: name, title, trigger words, tags, folder.
_WEIGHTS = "10.0, 10.0, 8.0, 1.5, 2.0"
MAX_TERMS = 60
MAX_NAME = 100
MAX_STACKS = 500
_REFS = TypeAdapter(tuple[AdapterRef, ...])


@dataclass(frozen=True)
class AdapterWords:
    """The words by which an adapter is found; `tags` are all in one text, as are `triggers`."""

    id: str
    name: str
    title: str
    triggers: str
    tags: str
    folder: str

    @property
    def stamp(self) -> str:
        """Changes when any word does."""
        text = json.dumps([self.name, self.title, self.triggers, self.tags, self.folder])
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    @property
    def texts(self) -> tuple[str, ...]:
        """The columns of the text index, in order."""
        return tuple(
            spaced(_printable(text)) for text in (self.name, self.title, self.triggers, self.tags, self.folder)
        )


@dataclass(frozen=True)
class PastUse:
    """A picture that was made with an adapter. `position` grows with time."""

    adapter: str
    weight: float
    prompt: str
    position: int


class AdapterStore:
    """The tables `adapter_words` (with its text index), `image_adapters` and `adapter_stacks`."""

    def __init__(self, db: Db) -> None:
        self._db = db

    # --- words -----------------------------------------------------------------------------------------------------

    def sync(self, rows: Iterable[AdapterWords]) -> int:
        """Make the index say what the library says; how many rows were written or removed."""
        wanted = {row.id: row for row in rows}
        with self._db.transaction():
            stored = {row["id"]: row["stamp"] for row in self._db.rows("SELECT id, stamp FROM adapter_words")}
            fresh = [row for row in wanted.values() if stored.get(row.id) != row.stamp]
            gone = [(row_id,) for row_id in stored if row_id not in wanted]
            gone += [(row.id,) for row in fresh if row.id in stored]
            self._db.execute_many("DELETE FROM adapter_words WHERE id = ?", gone)
            self._db.execute_many(
                "INSERT INTO adapter_words (id, stamp, name, title, triggers, tags, folder) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(row.id, row.stamp, *row.texts) for row in fresh],
            )
        return len(fresh) + len(gone)

    def search(self, query: str) -> list[str]:
        """Ids of the adapters with every word of `query`, best first; then those with it inside a longer word."""
        terms = _terms(query)
        if not terms:
            return []
        match = " AND ".join(f'"{term}" *' for term in terms)
        ids = [row["id"] for row in self._ranked(match, 100_000)]
        # "art" finds "pixelart" too: names of files are often written together.
        likes = " AND ".join("(name LIKE ? ESCAPE '\\' OR title LIKE ? ESCAPE '\\')" for _ in terms)
        patterns = [pattern for term in terms for pattern in [_like(term)] * 2]
        known = set(ids)
        rows = self._db.rows(f"SELECT id FROM adapter_words WHERE {likes} ORDER BY title", patterns)
        return ids + [row["id"] for row in rows if row["id"] not in known]

    def rank(self, words: Sequence[str], limit: int) -> list[tuple[str, float]]:
        """Adapters with any of the words or phrases, best first: (id, score above 0; rare words count more)."""
        terms = [term for word in words for term in [_clean(word)] if term][:MAX_TERMS]
        if not terms:
            return []
        match = " OR ".join(f'"{term}"' for term in dict.fromkeys(terms))
        return [(row["id"], -row["score"]) for row in self._ranked(match, limit)]

    def _ranked(self, match: str, limit: int) -> list[Row]:
        return self._db.rows(
            f"SELECT w.id AS id, bm25(adapter_words_fts, {_WEIGHTS}) AS score "
            "FROM adapter_words_fts JOIN adapter_words AS w ON w.row = adapter_words_fts.rowid "
            "WHERE adapter_words_fts MATCH ? ORDER BY score, w.title LIMIT ?",
            (match, limit),
        )

    # --- use -------------------------------------------------------------------------------------------------------

    def past_use(self, owner: str, *, after: int = 0, limit: int = 1000) -> list[PastUse]:
        """The owner's newest pictures with adapters, those after the position `after`; the bin does not count."""
        rows = self._db.rows(
            "SELECT a.adapter, a.weight, i.prompt, i.position FROM image_adapters AS a "
            "CROSS JOIN images AS i ON i.position = a.position "
            "WHERE a.position > ? AND i.owner = ? AND i.deleted_at IS NULL ORDER BY a.position DESC LIMIT ?",
            (after, owner, limit),
        )
        return [PastUse(row["adapter"], row["weight"], row["prompt"], row["position"]) for row in rows]

    def recent_prompts(self, owner: str, limit: int) -> list[str]:
        """The owner's newest prompts."""
        rows = self._db.rows(
            "SELECT prompt FROM images INDEXED BY images_owner "
            "WHERE owner = ? AND deleted_at IS NULL ORDER BY position DESC LIMIT ?",
            (owner, limit),
        )
        return [row["prompt"] for row in rows]

    def newest_picture(self, owner: str) -> int:
        """The position of the owner's newest picture; 0 where there is none."""
        found = self._db.value(
            "SELECT max(position) FROM images INDEXED BY images_owner WHERE owner = ? AND deleted_at IS NULL", (owner,)
        )
        return int(found or 0)

    # --- stacks ----------------------------------------------------------------------------------------------------

    def stacks(self, owner: str) -> list[NamedStack]:
        """The owner's stacks by name; one that this version cannot read is left out."""
        found: list[NamedStack] = []
        rows = self._db.rows("SELECT name, adapters FROM adapter_stacks WHERE owner = ?", (owner,))
        for row in rows:
            try:
                found.append(NamedStack(name=row["name"], adapters=_REFS.validate_json(row["adapters"])))
            except ValidationError:
                continue
        return sorted(found, key=lambda stack: stack.name.casefold())

    def save_stack(self, owner: str, stack: NamedStack) -> None:
        """Keep a stack under its name.

        Raises:
            SpecError: `bad_request` for an empty or very long name, or where there are too many.
        """
        name = _printable(stack.name).strip()
        if not name or len(name) > MAX_NAME:
            raise SpecError("bad_request", f"A stack's name has from 1 to {MAX_NAME} characters.", "Give it a name.")
        with self._db.transaction():
            count = self._db.value("SELECT count(*) FROM adapter_stacks WHERE owner = ? AND name <> ?", (owner, name))
            if count >= MAX_STACKS:
                raise SpecError("bad_request", f"There are {MAX_STACKS} stacks already.", "Delete one first.")
            self._db.execute(
                "INSERT INTO adapter_stacks (owner, name, adapters, changed_at) VALUES (?, ?, ?, ?) ON CONFLICT "
                "(owner, name) DO UPDATE SET adapters = excluded.adapters, changed_at = excluded.changed_at",
                (owner, name, _REFS.dump_json(stack.adapters).decode(), time.time()),
            )

    def delete_stack(self, owner: str, name: str) -> None:
        """Remove a stack. Raises NotFoundError `stack_unknown`."""
        with self._db.transaction():
            if not self._db.execute("DELETE FROM adapter_stacks WHERE owner = ? AND name = ?", (owner, name.strip())):
                raise NotFoundError("stack_unknown", f"There is no stack “{name[:MAX_NAME]}”.", "")


def _terms(query: str) -> list[str]:
    words = [_clean(word) for word in query[:2000].split()]
    return [word for word in dict.fromkeys(words) if word][:MAX_TERMS]


def _clean(word: str) -> str:
    """A term without anything that FTS5 could take for an operator; "" where no letter or digit is left."""
    text = " ".join(spaced(_printable(word)).split())
    return text if any(letter.isalnum() for letter in text) else ""


def _like(term: str) -> str:
    escaped = term.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def _printable(text: str) -> str:
    """Without control characters and halves of surrogate pairs, which SQLite cannot hold."""
    return "".join(" " if unicodedata.category(letter) in ("Cc", "Cs") else letter for letter in text)
