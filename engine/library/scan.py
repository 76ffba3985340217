"""Look through the model folders: every file and diffusers folder once, each read by its header at most once.

Thousands of new adapters are minutes of reading on a slow disk: `scan` reads for a moment and leaves the rest as
`Unread`, which `read_unread` turns into findings a handful at a time, in a thread of the library's.
"""

from __future__ import annotations

import os
import stat
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue, ValidationError

from engine.errors import ModelFileError
from engine.library.added_kinds import added_mark
from engine.library.folders import folder_size, identify_folder, is_model_folder
from engine.library.identify import identify_file
from engine.library.identity import Identity
from engine.library.index import FileIndex, Info
from engine.library.layouts import FoundFolder
from engine.library.previews import ENDINGS as PREVIEW_ENDINGS
from engine.library.sidecars import ENDINGS as SIDECAR_ENDINGS
from engine.library.sidecars import Sidecar, read_sidecar
from engine.protocol.library import FileKind

SUFFIXES = frozenset({".safetensors", ".ckpt", ".pt", ".pth"})
# In these folders a `.bin` is an embedding or an upscaler; elsewhere it is part of something.
_BIN_KINDS = ("embedding", "upscaler")
# What rules change in identification; rows of another version are read again.
INFO_VERSION = 4
# Of these, however slow the disk is, so many are read at once.
READ_AT_LEAST = 200
NO_SIDECAR = Sidecar()
# The longest ending first: `x.preview.png` shows `x`, not `x.preview`.
_BESIDE = tuple(sorted((*SIDECAR_ENDINGS, *PREVIEW_ENDINGS), key=len, reverse=True))

Row = tuple[str | Path, int, int, Info]


@dataclass(frozen=True)
class Found:
    """A file or diffusers folder with what it is. `root` is the model folder that it was found in.

    `beside` are the names of its previews and side files; `sidecar` is what those say (adapters only: it is kept in the
    index with them).
    """

    path: Path
    root: FoundFolder
    size: int
    mtime_ns: int
    identity: Identity
    hash: str = ""
    auto_v3: str = ""
    beside: tuple[str, ...] = ()
    sidecar: Sidecar | None = None

    @property
    def kind(self) -> FileKind:
        """What it is; where the header does not tell, what the folder is for."""
        return self.root.kind if self.identity.kind == "unknown" else self.identity.kind


@dataclass(frozen=True)
class Place:
    """Where a file or diffusers folder lies, and the names beside it that belong to it."""

    path: Path
    root: FoundFolder
    beside: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scan:
    """What was found, in the order of the roots and then by name, and what is still to be read."""

    found: list[Found]
    unread: list[Place]


def scan(roots: Iterable[FoundFolder], index: FileIndex, *, patience: float = float("inf")) -> Scan:
    """Everything in the roots; headers are read only where new.

    Args:
        patience: seconds for reading new files (but 200 in any case); later ones are left unread, base models never.
    """
    known = index.all()
    result = Scan([], [])
    fresh: list[Row] = []
    seen: set[str] = set()
    began, read = time.monotonic(), 0
    for root in roots:
        for place, real in _walk(root):
            if real in seen:
                continue
            seen.add(real)
            item = _recall(place, known, fresh)
            if item is None:
                if root.kind == "adapter" and read >= READ_AT_LEAST and time.monotonic() - began > patience:
                    result.unread.append(place)
                    continue
                item = _read(place, fresh)
                read += 1
            if item is not None:
                result.found.append(item)
    if fresh:
        index.put_many(fresh)
    return result


def read_unread(places: Sequence[Place], index: FileIndex) -> list[Found]:
    """What is at these places, which is stored in the index too; what is gone meanwhile is left out."""
    fresh: list[Row] = []
    found = [item for item in (_read(place, fresh) for place in places) if item is not None]
    index.put_many(fresh)
    return found


def look_at(path: Path, root: FoundFolder) -> Found:
    """One file or folder as `scan` would tell it, without an index: for tools and tests.

    Raises:
        FileNotFoundError: it is not there.
    """
    found = _read(Place(path, root, _beside_of(path)), [])
    if found is None:
        raise FileNotFoundError(path)
    return found


def _walk(root: FoundFolder) -> Iterator[tuple[Place, str]]:
    """Model files and diffusers folders below `root`, each with its real path; links are followed, circles are not."""
    if root.path.is_file() or is_model_folder(root.path):
        yield Place(root.path, root, _beside_of(root.path)), os.path.realpath(root.path)
        return
    visited: set[str] = set()
    for place, folders, files in os.walk(root.path, followlinks=True):
        here = Path(place)
        real = os.path.realpath(place)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not _skip(name))
        models = [name for name in folders if is_model_folder(here / name)]
        folders[:] = [name for name in folders if name not in models]
        for name in models:
            yield Place(here / name, root), os.path.realpath(here / name)
        belongings = _belongings(files)
        links = _links(place)
        for name in sorted(files):
            stem, suffix = os.path.splitext(name)
            suffix = suffix.lower()
            if not name.startswith(".") and (suffix in SUFFIXES or (suffix == ".bin" and root.kind in _BIN_KINDS)):
                # Resolving every part of ten thousand paths is the most of a scan: only links need it.
                where = os.path.realpath(os.path.join(place, name)) if name in links else f"{real}{os.sep}{name}"
                yield Place(here / name, root, belongings.get(stem.lower(), ())), where


def _links(folder: str) -> set[str]:
    """The names in a folder that are links."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_symlink()}
    except OSError:
        return set()


def _belongings(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Side files and previews in a folder: the stem in small letters that they belong to → their names."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        small = name.lower()
        if small.endswith(_BESIDE):
            ending = next(ending for ending in _BESIDE if small.endswith(ending))
            found[small.removesuffix(ending)].append(name)
    return {stem: tuple(sorted(those)) for stem, those in found.items()}


def _beside_of(path: Path) -> tuple[str, ...]:
    """The belongings of one file."""
    try:
        names = os.listdir(path.parent) if path.is_file() else []
    except OSError:
        return ()
    return _belongings(names).get(path.stem.lower(), ())


def _skip(name: str) -> bool:
    """Folders without models: configs beside a single file, and what preprocessors keep."""
    return name.endswith(".config") or name == "annotators"


def _recall(place: Place, known: Mapping[str, tuple[int, int, Info]], fresh: list[Row]) -> Found | None:
    """What the index knows of this very file; None where it is new, changed, or was read by older rules."""
    row = known.get(str(place.path))
    if row is None or row[2].get("version") != _version() or row[:2] != state_of(place.path):
        return None
    size, mtime_ns, info = row
    try:
        identity = Identity.model_validate(info["identity"])
        side = None
        if identity.kind == "adapter":
            state = _side_state(place)
            if info.get("side_state") == state:
                side = Sidecar.model_validate(info["side"]) if state else NO_SIDECAR
            else:
                side = read_sidecar(place.path)
                auto_v3 = str(info.get("auto_v3") or "")
                fresh.append((place.path, size, mtime_ns, info_of(identity, auto_v3, side, state)))
    except (ValidationError, KeyError):
        return None
    hash_, auto_v3 = str(info.get("hash") or ""), str(info.get("auto_v3") or "")
    return Found(place.path, place.root, size, mtime_ns, identity, hash_, auto_v3, place.beside, side)


def _read(place: Place, fresh: list[Row]) -> Found | None:
    """What the file's own header says; None: it is gone."""
    state = state_of(place.path)
    if state is None:
        return None
    identity = _identify(place.path, place.root)
    side = read_sidecar(place.path) if identity.kind == "adapter" and place.beside else None
    fresh.append((place.path, *state, info_of(identity, side=side, side_state=_side_state(place) if side else "")))
    return Found(place.path, place.root, *state, identity, beside=place.beside, sidecar=side)


def _side_state(place: Place) -> str:
    """What changes when a side file does; "" where there is none."""
    parts: list[str] = []
    for name in place.beside:
        if name.lower().endswith(SIDECAR_ENDINGS):
            try:
                told = os.stat(place.path.parent / name)
            except OSError:
                continue
            parts.append(f"{name}:{told.st_size}:{told.st_mtime_ns}")
    return "|".join(parts)


def state_of(path: Path) -> tuple[int, int] | None:
    """Size in bytes and time of change in ns; of a folder, of its weights and its newest config. None: it is gone."""
    try:
        told = os.stat(path)
        if stat.S_ISREG(told.st_mode):
            return told.st_size, told.st_mtime_ns
        configs = [path, *path.glob("*.json"), *path.glob("*/*.json"), *path.glob("*/*.safetensors")]
        return folder_size(path), max(file.stat().st_mtime_ns for file in configs)
    except OSError:
        return None


def info_of(identity: Identity, auto_v3: str = "", side: Sidecar | None = None, side_state: str = "") -> Info:
    """The row of the index for what was read."""
    info: Info = {
        "version": _version(),
        "identity": identity.model_dump(mode="json", exclude_defaults=True),
        "auto_v3": auto_v3,
    }
    if side_state and side is not None:
        info |= {"side_state": side_state, "side": side.model_dump(mode="json", exclude_defaults=True)}
    elif identity.kind == "adapter":
        info["side_state"] = ""
    return info


def hashed_info(found: Found, auto_v3: str) -> Info:
    """The row of a finding whose AutoV3 is known now."""
    state = _side_state(Place(found.path, found.root, found.beside)) if found.sidecar else ""
    return info_of(found.identity, auto_v3, found.sidecar, state)


def _identify(path: Path, root: FoundFolder) -> Identity:
    try:
        return identify_folder(path) if path.is_dir() else identify_file(path)
    except ModelFileError as error:
        return Identity(kind=root.kind, problem=error.message, code=error.code)


def _version() -> JsonValue:
    """Of the rules and of the kinds that extensions brought: a row of another one is read again."""
    mark = added_mark()
    return f"{INFO_VERSION} {mark}" if mark else INFO_VERSION
