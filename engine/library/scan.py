"""Look through the model folders: every file and diffusers folder once, each read by its header at most once.

Thousands of new adapters are minutes of reading on a slow disk: `scan` reads for a moment and leaves the rest as
`Unread`, which `read_unread` turns into findings a handful at a time, in a thread of the library's.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, JsonValue, ValidationError

from engine.errors import ModelFileError
from engine.library.added_kinds import added_mark
from engine.library.folders import component_folders, folder_size, identify_folder, weight_files
from engine.library.identify import identify_file
from engine.library.identity import Identity
from engine.library.index import FileIndex, Info, KnownRow
from engine.library.layouts import FoundFolder
from engine.library.sidecars import ENDINGS as SIDECAR_ENDINGS
from engine.library.sidecars import Sidecar, read_sidecar
from engine.library.walk import Place, State, beside_of, walk
from engine.protocol.library import FileKind

# What rules change in identification; rows of another version are read again.
INFO_VERSION = 6
# Of these, however slow the disk is, so many are read at once.
READ_AT_LEAST = 200
NO_SIDECAR = Sidecar()

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


class _Told(BaseModel):
    """The row of a file as `info_of` writes it."""

    version: JsonValue
    identity: Identity
    auto_v3: str = ""
    side_state: str = ""
    side: Sidecar = NO_SIDECAR


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
    known, version = index.all(), _version()
    result = Scan([], [])
    fresh: list[Row] = []
    began, read = time.monotonic(), 0
    for place in walk(roots):
        item = _recall(place, known, version, fresh)
        if item is None:
            if place.root.kind == "adapter" and read >= READ_AT_LEAST and time.monotonic() - began > patience:
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
    found = _read(Place(path, root, beside_of(path)), [])
    if found is None:
        raise FileNotFoundError(path)
    return found


def _recall(place: Place, known: Mapping[str, KnownRow], version: JsonValue, fresh: list[Row]) -> Found | None:
    """What the index knows of this very file; None where it is new, changed, or was read by older rules."""
    row = known.get(str(place.path))
    if row is None or (row.size, row.mtime_ns) != (place.state or state_of(place.path)):
        return None
    try:
        told = _Told.model_validate_json(row.info)
    except ValidationError:
        return None
    if told.version != version:
        return None
    identity, side = told.identity, None
    if identity.kind == "adapter":
        state = _side_state(place) if place.beside else ""
        if told.side_state == state:
            side = told.side
        else:
            side = read_sidecar(place.path)
            info = info_of(identity, told.auto_v3, side, state)
            fresh.append((place.path, row.size, row.mtime_ns, info))
    return Found(place.path, place.root, row.size, row.mtime_ns, identity, row.hash, told.auto_v3, place.beside, side)


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


def state_of(path: Path) -> State | None:
    """A file's state; of a folder, the size of its weights, and when the newest of its files changed. None: gone."""
    try:
        told = os.stat(path)
        if stat.S_ISREG(told.st_mode):
            return told.st_size, told.st_mtime_ns
        weights = [file for folder in component_folders(path) for file in weight_files(folder)]
        newest = [path, *path.glob("*.json"), *path.glob("*/*.json"), *weights]
        return folder_size(path), max(file.stat().st_mtime_ns for file in newest)
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
