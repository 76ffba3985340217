"""Textual inversion (arxiv.org/abs/2208.01618): words of a prompt that stand for vectors of their own.

Nothing of it stays in the shared tokenizers and text encoders. A prompt's tokenizers are wrapped: each vector of a word
is an id that no vocabulary has. While the prompt is encoded, hooks take those ids out before the text encoder sees
them (it looks for the end mark among the ids) and put the vectors in behind its token embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.conditioning.grammar import ParsedPrompt
from engine.conditioning.inversion_file import Inversion, inversion_of, read_inversion
from engine.conditioning.inversion_words import Word, WordFinder
from engine.errors import ModelFileError
from engine.library.embeddings import EmbeddingEntry
from engine.protocol.notices import Notice

# Far above every vocabulary.
FIRST_ID = 1 << 20
# The vectors of a word stay in one chunk.
MOST_VECTORS = 75
_FAMILIES = {(768,): "SD 1.x", (1024,): "SD 2.x", (768, 1280): "SDXL"}


@dataclass(frozen=True)
class WordSource:
    """Where a word's vectors are. `state` tells whether they are still the same; `read` raises ModelFileError."""

    name: str
    state: Callable[[], str]
    read: Callable[[], Inversion]


Sources = Mapping[str, WordSource]
"""Word → where its vectors are."""


def file_sources(entries: Iterable[EmbeddingEntry]) -> dict[str, WordSource]:
    """The words of the library's embeddings; those of damaged files too, so that they can be told."""
    sources: dict[str, WordSource] = {}
    for entry in entries:
        for token in ("", *entry.tokens):
            source = WordSource(entry.word, partial(_state, entry.path), partial(_read, entry, token))
            sources.setdefault(token or entry.word, source)
    return sources


def bundled_sources(embeddings: Mapping[str, Mapping[str, Tensor]], state: str, title: str) -> dict[str, WordSource]:
    """The words that came inside an adapter; `state` is the adapter's."""
    return {
        word: WordSource(word, lambda: state, partial(inversion_of, held, f"“{word}” in {title}"))
        for word, held in embeddings.items()
    }


@dataclass(frozen=True)
class LoadedWords:
    """The words of a prompt that can be used with these text encoders, and what is to be told.

    Attributes:
        found: whether there is any word in it, one that cannot be used too.
        inversions: by the word that was found.
        names: of those, as they are called in the library.
    """

    finder: WordFinder
    found: bool = False
    inversions: Mapping[str, Inversion] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    notices: tuple[Notice, ...] = ()

    def tokenizers(self, tokenizers: Sequence[Any]) -> list[Any]:
        """The tokenizers, knowing the words."""
        if not self.found:
            return list(tokenizers)
        return [
            WordTokenizer(
                tokenizer, self.finder, {word: found.vectors[place] for word, found in self.inversions.items()}
            )
            for place, tokenizer in enumerate(tokenizers)
        ]

    @contextmanager
    def in_encoders(self, tokenizers: Sequence[Any], text_encoders: Sequence[nn.Module]) -> Iterator[None]:
        """While it lasts, the text encoders understand the ids of `tokenizers`, which are this object's."""
        with ExitStack() as stack:
            for tokenizer, encoder in zip(tokenizers, text_encoders, strict=True):
                if isinstance(tokenizer, WordTokenizer) and tokenizer.rows:
                    stack.enter_context(_vectors_in(encoder, torch.cat(tokenizer.rows)))
            yield


class PromptWords:
    """The inversions that one prompt names. Nothing is read before `load`."""

    def __init__(self, parsed: ParsedPrompt, sources: Sources) -> None:
        self._finder = _finder(tuple(sources))
        # Compel's own syntax is one text here; what it makes of it, the tokenizer sees.
        texts = [piece.text for chunk in parsed.chunks for piece in chunk]
        self._words = [word for text in texts for word in self._finder.words(text)]
        self._sources = {word.name: sources[word.name] for word in self._words if word.name}

    @property
    def signature(self) -> tuple[tuple[str, str], ...]:
        """Equal while the words mean the same vectors."""
        return tuple((word, source.state()) for word, source in self._sources.items())

    def load(self, widths: Sequence[int]) -> LoadedWords:
        """Read them for text encoders of these widths. What cannot be used is read as text, and told."""
        if not self._words:
            return LoadedWords(self._finder)
        inversions: dict[str, Inversion] = {}
        notices = [_unknown(word) for word in self._words if not word.name]
        for word, source in self._sources.items():
            try:
                inversions[word] = _fitting(source.read(), tuple(widths))
            except ModelFileError as error:
                message = f"The word “{source.name}” was read as text: {error.message}"
                notices.append(Notice(code="embedding_skipped", message=message, level="warning"))
        if inversions:
            told = ", ".join(_counted(self._sources[word].name, found) for word, found in inversions.items())
            notices.append(Notice(code="embedding_used", message=f"Embeddings in the prompt: {told}."))
        names = tuple(dict.fromkeys(self._sources[word].name for word in inversions))
        return LoadedWords(self._finder, True, inversions, names, tuple(dict.fromkeys(notices)))


class WordTokenizer:
    """A tokenizer that gives words of inversions ids of their own; all else is the inner one's.

    Attributes:
        rows: the vectors by id: that of `FIRST_ID` + k is row k of them all.
    """

    def __init__(self, inner: Any, finder: WordFinder, vectors: Mapping[str, Tensor]) -> None:
        self._inner = inner
        self._finder = finder
        self.rows = list(vectors.values())
        self._ids: dict[str, list[int]] = {}
        self._shown: list[str] = []
        for word, rows in vectors.items():
            start = FIRST_ID + len(self._shown)
            self._ids[word] = list(range(start, start + len(rows)))
            # The last one ends a word, so that a split between chunks never falls into it.
            self._shown += [word] * (len(rows) - 1) + [f"{word}</w>"]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __call__(self, texts: Sequence[str], truncation: bool = False, **_: Any) -> dict[str, list[list[int]]]:
        """Ids of each text between its marks; `truncation` cuts to the model's length, but no word's vectors in two."""
        start, end = self._inner.bos_token_id, self._inner.eos_token_id
        limit = self._inner.model_max_length - 2 if truncation else None
        return {"input_ids": [[start, *self._within(self._groups(text), limit), end] for text in texts]}

    def convert_ids_to_tokens(self, ids: Sequence[int]) -> list[str]:
        """As the inner one's; the vectors of a word have its name."""
        known: list[str] = self._inner.convert_ids_to_tokens(
            [min(each, FIRST_ID - 1) if each < FIRST_ID else 0 for each in ids]
        )
        return [
            self._shown[each - FIRST_ID] if each >= FIRST_ID else token for each, token in zip(ids, known, strict=True)
        ]

    def _groups(self, text: str) -> Iterator[list[int]]:
        """Ids of the text in groups that belong together: a token, or a word's vectors."""
        plain = ""
        for part in self._finder.split(text):
            if isinstance(part, Word) and part.name in self._ids:
                yield from self._plain(plain)
                yield self._ids[part.name]
                plain = ""
            elif isinstance(part, Word):
                plain += part.text if part.name else ""
            else:
                plain += part
        yield from self._plain(plain)

    def _plain(self, text: str) -> Iterator[list[int]]:
        if text:
            ids: list[int] = self._inner([text], truncation=False, padding="do_not_pad", verbose=False)["input_ids"][0]
            yield from ([each] for each in ids[1:-1])

    def _within(self, groups: Iterable[list[int]], limit: int | None) -> list[int]:
        ids: list[int] = []
        for group in groups:
            if limit is not None and len(ids) + len(group) > limit:
                break
            ids += group
        return ids


@contextmanager
def _vectors_in(encoder: Any, vectors: Tensor) -> Iterator[None]:
    """Let `encoder` understand ids from `FIRST_ID` on as rows of `vectors`, shape (k, width)."""
    asked: list[Tensor] = []

    def take_out(module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
        ids = args[0] if args else named["input_ids"]
        asked[:] = [ids]
        # Any id of the vocabulary but the marks will do.
        known = torch.where(ids >= FIRST_ID, torch.zeros_like(ids), ids)
        return ((known, *args[1:]), named) if args else ((), {**named, "input_ids": known})

    def put_in(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        ids = asked[0] if asked else args[0]
        ours = ids >= FIRST_ID
        output = output.clone()
        output[ours] = vectors.to(output.device, output.dtype)[(ids[ours] - FIRST_ID).to(output.device)]
        return output

    handles = [
        encoder.register_forward_pre_hook(take_out, with_kwargs=True),
        encoder.get_input_embeddings().register_forward_hook(put_in),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@lru_cache(maxsize=8)
def _finder(names: tuple[str, ...]) -> WordFinder:
    return WordFinder(names)


def _read(entry: EmbeddingEntry, token: str) -> Inversion:
    if entry.view.problem:
        raise ModelFileError(entry.code or "model_file_unsupported", entry.view.problem, "Get the file again.")
    return read_inversion(entry.path, token)


def _state(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return f"{path}|gone"
    return f"{path}|{status.st_size}|{status.st_mtime_ns}"


def _fitting(found: Inversion, widths: tuple[int, ...]) -> Inversion:
    if found.widths != widths:
        made, model = (
            _FAMILIES.get(each, f"a text width of {' and '.join(map(str, each))}") for each in (found.widths, widths)
        )
        raise ModelFileError(
            "model_file_unsupported", f"the embedding was made for {made}, and the model is for {model}."
        )
    if found.length > MOST_VECTORS:
        raise ModelFileError(
            "model_file_unsupported", f"it has {found.length} vectors, and a part of a prompt holds {MOST_VECTORS}."
        )
    return found


def _counted(name: str, found: Inversion) -> str:
    return f"{name} ({found.length} vector{'s' if found.length != 1 else ''})"


def _unknown(word: Word) -> Notice:
    message = f"There is no embedding “{word.text[:80]}”; {word.source[:100]} was left out of the prompt."
    return Notice(code="embedding_skipped", message=message, level="warning")
