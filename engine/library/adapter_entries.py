"""Entries of adapters: what the catalogue, the side files and the header say of a file, put together."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.library.catalogue import Catalogue
from engine.library.defaults import hurried
from engine.library.identity import AdapterFacts, Identity
from engine.library.layouts import FoundFolder
from engine.library.names import unique_ids
from engine.library.previews import preview_beside
from engine.library.scan import Found
from engine.library.sidecars import Sidecar
from engine.library.speeds import FEW, known_file
from engine.protocol.adapters import AdapterView
from engine.protocol.library import FileView, ModelDefaults
from engine.settings import CatalogueLora

SHOWN_TAGS = 8
AUTO_V3 = 12
_NO_SIDECAR = Sidecar()
_NO_FACTS = AdapterFacts()


@dataclass(frozen=True)
class AdapterEntry:
    """An adapter file.

    Attributes:
        stamp: size and time of change, so that a replaced file is another one.
        sure_words: the trigger words that go into the prompt by themselves when it is switched on.
        auto_v3, said_hash: 64 hex, "" where unknown; `said_hash` is the metadata's claim, which A1111 believes.
        cover: the preview beside it; None where there is none (`facts.has_cover`: there may be one inside).
        problem_code: the `ModelFileError` code that belongs to `view.problem`.
    """

    view: AdapterView
    path: Path
    stamp: str = ""
    sure_words: tuple[str, ...] = ()
    facts: AdapterFacts = field(default_factory=AdapterFacts)
    auto_v3: str = ""
    negative: str = ""
    examples: tuple[str, ...] = ()
    cover: Path | None = None
    problem_code: str = ""

    @property
    def file_view(self) -> FileView:
        """The short form, as other files of the library have it."""
        view = self.view
        return FileView(
            id=view.id,
            title=view.title,
            kind="adapter",
            family=view.family,
            size_bytes=view.size_bytes,
            hash=view.hash,
            default_weight=view.default_weight,
            trigger_words=view.trigger_words,
            problem=view.problem,
        )

    def hashed(self, sha256: str, auto_v3: str) -> AdapterEntry:
        """The same with its hashes (64 hex each)."""
        quick = self.view.quick or _quick(self.path, self.facts, self.view.title, sha256)
        told = {"hash": sha256, "auto_v3": auto_v3[:AUTO_V3], "quick": quick}
        return replace(self, view=self.view.model_copy(update=told), auto_v3=auto_v3)


def adapter_entries(found: Sequence[Found], catalogue: Catalogue) -> list[AdapterEntry]:
    """An entry for each adapter and for each that the catalogue misses; ids are unique. By title, problems last."""
    listed = {path.resolve(): (lora_id, entry) for lora_id, entry, path, absent in catalogue.loras() if not absent}
    names = {path.name for path in listed}
    # Resolving ten thousand paths is slow: only what may be listed is looked at closely.
    near = [bool(listed) and (each.path.name in names or each.path.is_symlink()) for each in found]
    named = [listed.get(each.path.resolve()) if close else None for each, close in zip(found, near, strict=True)]
    rest = [each for each, entry in zip(found, named, strict=True) if entry is None]
    ids = iter(unique_ids([each.path for each in rest], [*catalogue.lora_ids]))
    entries = [
        _entry(each, entry[0] if entry else next(ids), entry[1] if entry else None)
        for each, entry in zip(found, named, strict=True)
    ]
    entries += [_missing(*each) for each in catalogue.loras() if each[3]]
    titles = Counter(each.view.title.casefold() for each in entries)
    told = [_sharing(each) if titles[each.view.title.casefold()] > 1 else each for each in entries]
    return sorted(told, key=lambda each: (bool(each.view.problem), each.view.title.casefold(), each.view.id))


def _sharing(entry: AdapterEntry) -> AdapterEntry:
    return replace(entry, view=entry.view.model_copy(update={"shared_title": True}))


def _entry(found: Found, adapter_id: str, listed: CatalogueLora | None) -> AdapterEntry:
    identity, side = found.identity, found.sidecar or _NO_SIDECAR
    facts = identity.adapter or _NO_FACTS
    inside = _inside(found)
    cover = preview_beside(found.path.stem, found.beside) if found.beside else ""
    words, sure = identity.trigger_words, facts.certain_words
    if listed is not None and listed.trigger_words:
        words, sure = listed.trigger_words, len(listed.trigger_words)
    elif side.trigger_words:
        words, sure = side.trigger_words, side.certain_words
    title = _text(listed.name if listed else side.name or identity.title or found.path.stem)
    view = AdapterView(
        id=_text(adapter_id),
        title=title,
        file=_text(inside),
        folder=_text(inside.rpartition("/")[0]),
        kind=facts.kind,
        family=side.family or identity.family,
        size_bytes=found.size,
        rank=facts.rank,
        dtype=identity.dtype,
        hash=found.hash,
        auto_v3=found.auto_v3[:AUTO_V3],
        trigger_words=words,
        tags=facts.first_tags(SHOWN_TAGS),
        default_weight=_weight(listed, side, facts),
        has_preview=bool(cover) or facts.has_cover,
        description=side.description or identity.description,
        quick=_quick(found.path, facts, title, found.hash),
        problem=identity.problem,
        modified_at=found.mtime_ns / 1e9,
    )
    return AdapterEntry(
        view=view,
        path=found.path,
        stamp=f"{found.size}-{found.mtime_ns}",
        sure_words=words[:sure],
        facts=facts,
        auto_v3=found.auto_v3,
        negative=side.negative,
        examples=side.examples,
        cover=found.path.parent / cover if cover else None,
        problem_code=identity.code,
    )


def _quick(path: Path, facts: AdapterFacts, title: str, sha256: str) -> ModelDefaults | None:
    """What a model needs while it is on, where it makes few steps possible; its name may tell how many."""
    known, name = known_file(path, sha256)
    speed = known or facts.speed
    if not speed or speed == FEW:
        return None
    return hurried(speed, f"{path.stem} {title} {name}")


def _inside(found: Found) -> str:
    """The path below the folder where it was found. As text: ten thousand paths are taken apart at each start."""
    path, root = str(found.path), str(found.root.path)
    if path == root or not path.startswith(root):
        return found.path.name
    return path[len(root) :].lstrip(os.sep).replace(os.sep, "/")


def _text(name: str) -> str:
    """A name that is not valid UTF-8 (Linux allows it) with escapes, which JSON and SQLite can hold."""
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode("utf-8")


def _weight(listed: CatalogueLora | None, side: Sidecar, facts: AdapterFacts) -> float:
    if listed is not None:
        return listed.default_weight
    return next((weight for weight in (side.weight, facts.default_weight) if weight is not None), 1.0)


def _missing(adapter_id: str, listed: CatalogueLora, path: Path, problem: str) -> AdapterEntry:
    """The catalogue's entry whose file is not there."""
    root = FoundFolder("adapter", path.parent, "catalogue")
    identity = Identity(kind="adapter", problem=problem, code="model_file_missing")
    return replace(_entry(Found(path, root, 0, 0, identity), adapter_id, listed), stamp="")
