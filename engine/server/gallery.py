"""Gallery: the library's adapters with what the store knows of their words and their use."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator

from engine.conditioning.adapter_tags import cut_tags
from engine.errors import ModelFileError, SpecError
from engine.library.adapter_entries import AdapterEntry
from engine.library.adapter_shelf import AdapterShelf
from engine.library.adapters import COVER_KEYS
from engine.library.completions import (
    WordList,
    adapter_rows,
    complete,
    embedding_rows,
    history_rows,
    trigger_rows,
)
from engine.library.headers import read_header
from engine.library.library import Library
from engine.library.previews import CoverFolder, media_type_of, unknown_preview
from engine.library.prompt_words import subjects
from engine.library.suggest import suggest, uses_like
from engine.protocol.adapters import AdapterDetails, AdapterPage, CompletionList, SuggestionList
from engine.protocol.commands import ImageFile
from engine.store.adapters import AdapterWords
from engine.store.store import Store

FORGOTTEN = "adapters.forgotten"
PAST_USES = 1000
RECENT_PROMPTS = 1000
RANKED = 200
METADATA_LIMIT = 2000
METADATA_ENTRIES = 200
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])")


class Gallery:
    """Answers from the library's present state; the text index follows it at the latest when it is asked."""

    def __init__(self, library: Library, store: Store, covers: CoverFolder) -> None:
        self._library, self._store, self._covers = library, store, covers
        self._lock = threading.Lock()
        self._synced: object = None
        self._lists: tuple[object, tuple[WordList, WordList]] | None = None
        self._history: dict[str, tuple[int, WordList]] = {}

    def sync(self) -> AdapterShelf:
        """The library's adapters, which the text index knows now."""
        shelf = self._library.adapters
        shelf.warm()
        with self._lock:
            if self._synced is not shelf.token:
                self._store.adapters.sync(_words_of(entry) for entry in shelf.entries)
                self._synced = shelf.token
        return shelf

    def page(
        self, query: str, *, family: str | None, folder: str | None, limit: int, cursor: str | None
    ) -> AdapterPage:
        """A page of what fits. Raises SpecError `bad_request` for a cursor that no page gave."""
        shelf = self._library.adapters
        entries: Iterator[AdapterEntry] = iter(shelf.entries)
        if query.strip():
            shelf = self.sync()
            named = (shelf.get(adapter_id) for adapter_id in self._store.adapters.search(query))
            entries = (entry for entry in named if entry is not None)
        chosen = [
            entry
            for entry in entries
            if (not family or entry.view.family == family)
            and (not folder or entry.view.folder == folder or entry.view.folder.startswith(f"{folder}/"))
        ]
        start = _offset(cursor)
        more = start + limit < len(chosen)
        return AdapterPage(
            adapters=tuple(entry.view for entry in chosen[start : start + limit]),
            total=len(chosen),
            next_cursor=str(start + limit) if more else None,
            folders=shelf.folders,
            families=shelf.families,
            scanning=shelf.scanning,
        )

    def details(self, name: str, owner: str) -> AdapterDetails:
        """All of one adapter, also of one that cannot be used. Raises SpecError `adapter_unknown`."""
        entry = self._library.adapters.look_up(name)
        past = self._store.adapters.past_use(owner, limit=PAST_USES)
        weights = [round(use.weight, 2) for use in past if use.adapter == entry.view.id]
        metadata: dict[str, str] = {}
        if entry.path.suffix.lower() == ".safetensors":
            try:
                metadata = dict(read_header(entry.path).metadata)
            except ModelFileError:
                # The view's own `problem` tells it already.
                metadata = {}
        shown = {key: _cut(value) for key, value in metadata.items() if key not in COVER_KEYS}
        return AdapterDetails(
            view=entry.view,
            metadata=dict(sorted(shown.items())[:METADATA_ENTRIES]),
            tag_counts=dict(entry.facts.tags()),
            negative_prompt=entry.negative,
            examples=entry.examples,
            modules=entry.facts.modules,
            uses=len(weights),
            usual_weight=Counter(weights).most_common(1)[0][0] if weights else None,
        )

    def preview(self, name: str) -> ImageFile:
        """The file of an adapter's picture. Raises SpecError `adapter_unknown`, NotFoundError `preview_unknown`."""
        entry = self._library.adapters.look_up(name)
        if entry.cover is not None and entry.cover.is_file():
            return ImageFile(path=str(entry.cover), media_type=media_type_of(entry.cover))
        if not entry.facts.has_cover:
            raise unknown_preview(entry.path.stem)
        return ImageFile(path=str(self._covers.get(entry.path, entry.stamp)), media_type="image/webp")

    def suggestions(self, owner: str, prompt: str, model: str | None, limit: int) -> SuggestionList:
        """Adapters for the model's family that fit the prompt and are not named in it."""
        text, tags = cut_tags(prompt)
        words = subjects(text)
        if not words:
            return SuggestionList()
        shelf = self.sync()
        after = self._store.values.get(owner, FORGOTTEN)
        past = self._store.adapters.past_use(owner, after=after if isinstance(after, int) else 0, limit=PAST_USES)
        uses = uses_like(text, ((use.adapter, use.weight, use.prompt) for use in past))
        scores = dict.fromkeys(uses, 0.0) | dict(self._store.adapters.rank(words, RANKED))
        named = {tag.name for tag in tags}
        fits = self._fits(model)
        found = [
            (entry, score)
            for adapter_id, score in scores.items()
            for entry in [shelf.get(adapter_id)]
            if entry is not None and not entry.view.problem and adapter_id not in named and fits(entry)
        ]
        return SuggestionList(suggestions=tuple(suggest(text, found, uses, limit)))

    def forget(self, owner: str) -> None:
        """What the owner made up to now no longer counts in suggestions."""
        self._store.values.set(owner, FORGOTTEN, self._store.adapters.newest_picture(owner))

    def completions(self, owner: str, prefix: str, limit: int) -> CompletionList:
        """What the unfinished word may become."""
        adapters, others = self._word_lists()
        lists = (adapters, others, self._own_words(owner))
        return CompletionList(completions=tuple(complete(prefix[:200], lists, limit)))

    def _word_lists(self) -> tuple[WordList, WordList]:
        """Adapters; trigger words and embeddings. Made anew when the library changed."""
        shelf = self._library.adapters
        known = self._lists
        if known is None or known[0] is not shelf.token:
            embeddings = [entry.word for entry in self._library.embeddings if not entry.view.problem]
            words = [*trigger_rows(shelf.entries), *embedding_rows(embeddings)]
            known = (shelf.token, (WordList(adapter_rows(shelf.entries)), WordList(words)))
            self._lists = known
        return known[1]

    def _own_words(self, owner: str) -> WordList:
        newest = self._store.adapters.newest_picture(owner)
        known = self._history.get(owner)
        if known is None or known[0] != newest:
            prompts = self._store.adapters.recent_prompts(owner, RECENT_PROMPTS)
            known = (newest, WordList(history_rows(prompts)))
            self._history[owner] = known
        return known[1]

    def _fits(self, model: str | None) -> Callable[[AdapterEntry], bool]:
        """Whether an adapter may be for the model, as far as headers tell without its report."""
        try:
            chosen = self._library.find_model(model)
        except (SpecError, ModelFileError):
            return lambda entry: True
        family, width = chosen.view.family, chosen.config.get("unet", {}).get("cross_attention_dim")

        def fits(entry: AdapterEntry) -> bool:
            same_family = not family or entry.view.family in ("", family)
            return same_family and (not isinstance(width, int) or entry.facts.text_width in (0, width))

        return fits


def _words_of(entry: AdapterEntry) -> AdapterWords:
    view = entry.view
    names = f"{view.id} {entry.path.stem}"
    return AdapterWords(
        id=view.id,
        # "PixelArtV2" is looked for as "pixel art" too.
        name=f"{names} {_CAMEL.sub(' ', names)}",
        title=f"{view.title} {_CAMEL.sub(' ', view.title)}",
        triggers="\n".join(view.trigger_words),
        tags="\n".join(tag for tag, _ in entry.facts.tags()),
        folder=view.folder,
    )


def _offset(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 9:
        raise SpecError("bad_request", "This page of the adapters does not exist.", "Start again from the first page.")
    return int(cursor)


def _cut(value: str) -> str:
    return value if len(value) <= METADATA_LIMIT else f"{value[:METADATA_LIMIT]}…"
