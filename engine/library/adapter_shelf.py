"""AdapterShelf: one state of all adapters, found by any of the names that people and other studios use."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cached_property

from engine.errors import ModelFileError, SpecError
from engine.library.adapter_entries import AdapterEntry
from engine.library.names import nearest

_HASH = re.compile(r"(?:0x)?([0-9a-f]{8,64})")
_NAME_AND_HASH = re.compile(r"(.+?)\s*[\[(]([0-9a-f]{8,64})[\])]")
_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
SHOWN = 3


class AdapterShelf:
    """Immutable, so that readers in other threads need no lock. Finding one costs the same among ten thousand.

    The names that trainers write into the metadata (`ss_output_name`) come last, since many files share one.
    """

    def __init__(self, entries: Iterable[AdapterEntry] = (), *, scanning: bool = False, token: object = None) -> None:
        """`token` is one object for all states that differ in hashes only."""
        self.entries = tuple(entries)
        self.scanning = scanning
        self.token = token or object()
        self.folders = tuple(sorted({entry.view.folder for entry in self.entries if entry.view.folder}))
        self.families = tuple(sorted({entry.view.family for entry in self.entries if entry.view.family}))
        self._by_id = {entry.view.id: entry for entry in self.entries}

    @cached_property
    def _names(self) -> dict[str, list[AdapterEntry]]:
        """Folded names → who has them. Made when first asked for: most questions are by id."""
        names: defaultdict[str, list[AdapterEntry]] = defaultdict(list)
        for entry in self.entries:
            for name in _names_of(entry):
                names[name].append(entry)
        return dict(names)

    @cached_property
    def _said(self) -> dict[str, list[AdapterEntry]]:
        """Folded names that trainers gave → who has them."""
        names: defaultdict[str, list[AdapterEntry]] = defaultdict(list)
        for entry in self.entries:
            if entry.facts.said_name:
                names[_folded(entry.facts.said_name)].append(entry)
        return dict(names)

    @cached_property
    def _hashes(self) -> list[tuple[str, int]]:
        """Every hash with the place of its entry, in order."""
        return sorted((hash_, place) for place, entry in enumerate(self.entries) for hash_ in _hashes_of(entry))

    def warm(self) -> None:
        """Make what the first question would wait for."""
        assert self._names is not None
        assert self._hashes is not None

    def get(self, adapter_id: str) -> AdapterEntry | None:
        """The entry of exactly this id."""
        return self._by_id.get(adapter_id)

    def find(self, name: str) -> AdapterEntry:
        """The adapter of that id, file name or path, title, hash (8 to 64 characters), "name [hash]" or trainer's name.

        Raises:
            SpecError: `adapter_unknown`, where nothing or several things have that name.
            ModelFileError: the file cannot be used, and why.
        """
        entry = self.look_up(name)
        if entry.view.problem:
            raise ModelFileError(
                entry.problem_code or "model_file_unsupported", entry.view.problem, "Take it out of the stack."
            )
        return entry

    def restore(self, name: str, hash_: str) -> AdapterEntry | None:
        """The adapter that a picture names, or None: by hash first, since names differ between machines."""
        found = self._by_hash(hash_) if hash_ else None
        if found is not None:
            return found
        try:
            return self.look_up(name)
        except SpecError:
            return None

    def look_up(self, name: str) -> AdapterEntry:
        """As `find`, but also what cannot be used. Raises SpecError `adapter_unknown`."""
        wanted = name.strip()
        if wanted in self._by_id:
            return self._by_id[wanted]
        folded = _folded(wanted)
        # An id in other letters, then every other name; one that several share is not guessed at.
        found = next((each for each in self._names.get(folded, ()) if _folded(each.view.id) == folded), None)
        if found is not None:
            return found
        several = self._names.get(folded, [])
        if len(several) == 1:
            return several[0]
        if several:
            raise _ambiguous(several, f"{len(several)} adapters are called “{wanted[:100]}”.")
        if match := _NAME_AND_HASH.fullmatch(wanted.casefold()):
            return self._by_hash(match[2]) or self.look_up(wanted[: match.end(1)])
        return self._by_hash(wanted) or self._by_trainer(wanted) or self._refuse(wanted)

    def remark(self, name: str, entry: AdapterEntry) -> str:
        """What a person should know of how `name` was understood as `entry`: which other files have that name, and how
        to name them. "" where there is nothing to say."""
        folded = _folded(name)
        named = [each for each in self._names.get(folded, []) if _folded(_file_name(each)) == folded]
        others = [f"“{each.view.id}”" for each in named if each is not entry]
        if len(others) < len(named) and others:
            shown = " or ".join(others[:SHOWN]) + (f", or one of {len(others) - SHOWN} more" if others[SHOWN:] else "")
            return (
                f"{len(named)} files are called “{name.strip()[:100]}”: {entry.view.file} was taken. "
                f"For {'the other' if len(others) == 1 else 'another'} write {shown}."
            )
        if folded not in self._names and folded == _folded(entry.facts.said_name):
            return f"“{name.strip()[:100]}” is what its trainer called {entry.view.file}, which was taken."
        return ""

    def _by_trainer(self, name: str) -> AdapterEntry | None:
        found = self._said.get(_folded(name), [])
        if len(found) > 1:
            raise _ambiguous(found, f"The trainers of {len(found)} adapters called them “{name[:100]}”.")
        return found[0] if found else None

    def _refuse(self, name: str) -> AdapterEntry:
        usable = [entry.view.id for entry in self.entries if not entry.view.problem]
        hint = nearest(name, usable) if usable else "Put one into models/loras."
        if self.scanning:
            hint = f"The folders are still being looked at. {hint}"
        raise SpecError("adapter_unknown", f"There is no adapter “{name[:100]}”.", hint)

    def _by_hash(self, text: str) -> AdapterEntry | None:
        match = _HASH.fullmatch(text.strip().lower())
        if match is None:
            return None
        place = bisect_left(self._hashes, (match[1], -1))
        if place < len(self._hashes) and self._hashes[place][0].startswith(match[1]):
            return self.entries[self._hashes[place][1]]
        return None

    def with_hashes(self, known: Mapping[str, tuple[str, str]]) -> AdapterShelf:
        """The same with what was hashed meanwhile: path → (SHA-256, AutoV3)."""
        return AdapterShelf(
            (entry.hashed(*known[str(entry.path)]) if str(entry.path) in known else entry for entry in self.entries),
            scanning=self.scanning,
            token=self.token,
        )


def _ambiguous(entries: list[AdapterEntry], what: str) -> SpecError:
    ids = ", ".join(f"“{entry.view.id}”" for entry in entries[:SHOWN])
    more = f" and {len(entries) - SHOWN} more" if len(entries) > SHOWN else ""
    return SpecError("adapter_unknown", what, f"Say which: {ids}{more}.")


def _names_of(entry: AdapterEntry) -> set[str]:
    """Every name that means this entry, folded."""
    view = entry.view
    return {_folded(name) for name in {view.id, view.title, view.file, _file_name(entry)} if name}


def _file_name(entry: AdapterEntry) -> str:
    return entry.view.file.rpartition("/")[2]


def _folded(name: str) -> str:
    """One spelling for equal names: letters' case, kind of slash, and the ending do not count."""
    text = name.strip().replace("\\", "/").casefold()
    if text.endswith(_SUFFIXES):
        return text.rpartition(".")[0]
    return text


def _hashes_of(entry: AdapterEntry) -> set[str]:
    return {hash_ for hash_ in (entry.view.hash, entry.auto_v3, entry.facts.said_hash) if hash_}
