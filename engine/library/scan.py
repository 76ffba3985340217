"""Look through the model folders: every file and diffusers folder once, each read by its header at most once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from engine.errors import ModelFileError
from engine.library.folders import folder_size, identify_folder, is_model_folder
from engine.library.identify import identify_file
from engine.library.identity import Identity
from engine.library.index import FileIndex, Info
from engine.library.layouts import FoundFolder
from engine.protocol.library import FileKind

SUFFIXES = frozenset({".safetensors", ".ckpt", ".pt", ".pth"})
# In these folders a `.bin` is an embedding or an upscaler; elsewhere it is part of something.
_BIN_KINDS = ("embedding", "upscaler")
# What rules change in identification; rows of another version are read again.
INFO_VERSION = 1


@dataclass(frozen=True)
class Found:
    """A file or diffusers folder with what it is. `root` is the model folder that it was found in."""

    path: Path
    root: FoundFolder
    size: int
    mtime_ns: int
    identity: Identity
    hash: str = ""
    auto_v3: str = ""

    @property
    def kind(self) -> FileKind:
        """What it is; where the header does not tell, what the folder is for."""
        return self.root.kind if self.identity.kind == "unknown" else self.identity.kind


def scan(roots: Iterable[FoundFolder], index: FileIndex) -> list[Found]:
    """Everything in the roots, in the order of the roots and then by name; headers are read only where new."""
    known = index.all()
    found: list[Found] = []
    fresh: list[tuple[str | Path, int, int, Info]] = []
    seen: set[Path] = set()
    for root in roots:
        for path, real in _walk(root):
            if real in seen:
                continue
            seen.add(real)
            item = _look(path, root, known, fresh)
            if item is not None:
                found.append(item)
    if fresh:
        index.put_many(fresh)
    return found


def look_at(path: Path, root: FoundFolder) -> Found:
    """One file or folder as `scan` would tell it, without an index: for tools and tests.

    Raises:
        FileNotFoundError: it is not there.
    """
    found = _look(path, root, {}, [])
    if found is None:
        raise FileNotFoundError(path)
    return found


def _walk(root: FoundFolder) -> Iterator[tuple[Path, Path]]:
    """Model files and diffusers folders below `root`, each with its real path; links are followed, circles are not."""
    if root.path.is_file() or is_model_folder(root.path):
        yield root.path, root.path.resolve()
        return
    visited: set[Path] = set()
    for place, folders, files in os.walk(root.path, followlinks=True):
        here = Path(place)
        real = here.resolve()
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not _skip(name))
        models = [name for name in folders if is_model_folder(here / name)]
        folders[:] = [name for name in folders if name not in models]
        for name in models:
            yield here / name, (here / name).resolve()
        for name in sorted(files):
            suffix = Path(name).suffix.lower()
            if not name.startswith(".") and (suffix in SUFFIXES or (suffix == ".bin" and root.kind in _BIN_KINDS)):
                path = here / name
                # Resolving every part of ten thousand paths is the most of a scan: only links need it.
                yield path, path.resolve() if path.is_symlink() else real / name


def _skip(name: str) -> bool:
    """Folders without models: configs beside a single file, and what preprocessors keep."""
    return name.endswith(".config") or name == "annotators"


def _look(
    path: Path,
    root: FoundFolder,
    known: Mapping[str, tuple[int, int, Info]],
    fresh: list[tuple[str | Path, int, int, Info]],
) -> Found | None:
    state = state_of(path)
    if state is None:
        return None
    size, mtime_ns = state
    row = known.get(str(path))
    if row is not None and row[:2] == state and row[2].get("version") == INFO_VERSION:
        try:
            identity = Identity.model_validate(row[2]["identity"])
            hash_, auto_v3 = str(row[2].get("hash") or ""), str(row[2].get("auto_v3") or "")
            return Found(path, root, size, mtime_ns, identity, hash_, auto_v3)
        except (ValidationError, KeyError):
            pass
    identity = _identify(path, root)
    fresh.append((path, size, mtime_ns, info_of(identity)))
    return Found(path, root, size, mtime_ns, identity)


def state_of(path: Path) -> tuple[int, int] | None:
    """Size in bytes and time of change in ns; of a folder, of its weights and its newest config. None: it is gone."""
    try:
        if path.is_file():
            stat = path.stat()
            return stat.st_size, stat.st_mtime_ns
        configs = [path, *path.glob("*.json"), *path.glob("*/*.json"), *path.glob("*/*.safetensors")]
        return folder_size(path), max(file.stat().st_mtime_ns for file in configs)
    except OSError:
        return None


def info_of(identity: Identity, auto_v3: str = "") -> Info:
    """The row of the index for what was read."""
    return {"version": INFO_VERSION, "identity": identity.model_dump(mode="json"), "auto_v3": auto_v3}


def _identify(path: Path, root: FoundFolder) -> Identity:
    try:
        return identify_folder(path) if path.is_dir() else identify_file(path)
    except ModelFileError as error:
        return Identity(kind=root.kind, problem=error.message, code=error.code)
