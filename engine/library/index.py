"""What the library needs of the store: rows of what was read out of files. `engine.store.library_index` is one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from pydantic import JsonValue

Info = dict[str, JsonValue]


class KnownRow(NamedTuple):
    """A row as it is stored; `info` is the JSON text, which is cheaper to read at once into what it describes."""

    size: int
    mtime_ns: int
    info: str
    hash: str


class FileIndex(Protocol):
    """Rows that hold for one path, size (bytes) and time of change (ns since the epoch)."""

    def all(self) -> dict[str, KnownRow]:
        """Every row, by its path."""
        ...

    def paths(self) -> list[str]:
        """The path of every row."""
        ...

    def put(self, path: str | Path, size: int, mtime_ns: int, info: Mapping[str, JsonValue]) -> None:
        """Store what was read of a file."""
        ...

    def put_many(self, rows: Iterable[tuple[str | Path, int, int, Mapping[str, JsonValue]]]) -> None:
        """Store many files at once."""
        ...

    def set_hash(self, path: str | Path, size: int, mtime_ns: int, hash_: str) -> bool:
        """Store a file's SHA-256."""
        ...

    def prune(self, existing: Iterable[str | Path]) -> int:
        """Forget files that are not among the existing ones."""
        ...
