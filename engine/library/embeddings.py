"""Textual inversions as the library knows them: a few vectors each, which stand for a word of a prompt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from engine.library.scan import Found
from engine.protocol.library import FileView


@dataclass(frozen=True)
class EmbeddingEntry:
    """One file.

    Attributes:
        view: its `id` is the word that calls it; `problem` says why it cannot be used.
        tokens: words that diffusers' files name inside ("<cat-toy>"), with their angle brackets.
        code: the `ModelFileError` code that belongs to the problem.
    """

    view: FileView
    path: Path
    tokens: tuple[str, ...] = ()
    code: str = ""

    @property
    def word(self) -> str:
        return self.view.id


def embedding_entries(files: Iterable[tuple[FileView, Found]]) -> list[EmbeddingEntry]:
    """The embeddings among the library's files."""
    return [
        EmbeddingEntry(view, found.path, found.identity.trigger_words, found.identity.code)
        for view, found in files
        if view.kind == "embedding"
    ]
