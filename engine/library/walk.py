"""Walk through the model folders: where every model file and diffusers folder lies. Nothing is opened here.

Ten thousand files are walked past at each start, so a folder is listed once, and what the listing tells is kept.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from engine.library.folders import is_model_folder
from engine.library.layouts import FoundFolder
from engine.library.previews import ENDINGS as PREVIEW_ENDINGS
from engine.library.sidecars import ENDINGS as SIDECAR_ENDINGS

SUFFIXES = frozenset({".safetensors", ".ckpt", ".pt", ".pth"})
# In these folders a `.bin` is an embedding or an upscaler; elsewhere it is part of something.
_BIN_KINDS = ("embedding", "upscaler")
# The longest ending first: `x.preview.png` shows `x`, not `x.preview`.
_BESIDE = tuple(sorted((*SIDECAR_ENDINGS, *PREVIEW_ENDINGS), key=len, reverse=True))

# Size in bytes and time of change in ns.
State = tuple[int, int]


class Place(NamedTuple):
    """Where a file or diffusers folder lies, and the names beside it that belong to it.

    `state` is a file's as the walk passed it; None: not known.
    """

    path: Path
    root: FoundFolder
    beside: tuple[str, ...] = ()
    state: State | None = None


def walk(roots: Iterable[FoundFolder]) -> Iterator[Place]:
    """Every model file and diffusers folder in the roots, each under the first root that holds it.

    The order is that of the roots and then by name. Links are followed, circles are not.
    """
    seen: set[str] = set()
    # A folder that another root has been through has nothing new, unless this one takes more endings.
    visited: set[tuple[str, bool]] = set()
    for root in roots:
        if root.path.is_file() or is_model_folder(root.path):
            found = iter([(Place(root.path, root, beside_of(root.path)), os.path.realpath(root.path))])
        else:
            found = _below(str(root.path), root, visited)
        for place, real in found:
            if real not in seen:
                seen.add(real)
                yield place


def beside_of(path: Path) -> tuple[str, ...]:
    """The belongings of one file."""
    try:
        names = os.listdir(path.parent) if path.is_file() else []
    except OSError:
        return ()
    return _belongings(names).get(path.stem.lower(), ())


def _below(folder: str, root: FoundFolder, visited: set[tuple[str, bool]]) -> Iterator[tuple[Place, str]]:
    """What lies in a folder and below it, each with its real path."""
    real = os.path.realpath(folder)
    bins = root.kind in _BIN_KINDS
    if (real, bins) in visited or (real, True) in visited:
        return
    visited.add((real, bins))
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError:
        return
    here = Path(folder)
    folders = [entry for entry in entries if _is_folder(entry)]
    deeper = [entry for entry in folders if not entry.name.startswith(".") and not _skip(entry.name)]
    models = {entry.name for entry in deeper if is_model_folder(here / entry.name)}
    for entry in deeper:
        if entry.name in models:
            yield Place(here / entry.name, root), os.path.realpath(entry.path)
    names = {entry.name for entry in folders}
    files = [entry for entry in entries if entry.name not in names]
    belongings = _belongings(entry.name for entry in files)
    for entry in files:
        stem, suffix = os.path.splitext(entry.name)
        suffix = suffix.lower()
        if (suffix in SUFFIXES or (bins and suffix == ".bin")) and not entry.name.startswith("."):
            # Resolving every part of ten thousand paths is the most of a walk: only links need it.
            where = os.path.realpath(entry.path) if entry.is_symlink() else f"{real}{os.sep}{entry.name}"
            beside = belongings.get(stem.lower(), ()) if belongings else ()
            yield Place(here / entry.name, root, beside, _state(entry)), where
    for entry in deeper:
        if entry.name not in models:
            yield from _below(entry.path, root, visited)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _state(entry: os.DirEntry[str]) -> State | None:
    try:
        told = entry.stat()
    except OSError:
        # A link that leads nowhere.
        return None
    return told.st_size, told.st_mtime_ns


def _belongings(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Side files and previews in a folder: the stem in small letters that they belong to → their names."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        small = name.lower()
        if small.endswith(_BESIDE):
            ending = next(ending for ending in _BESIDE if small.endswith(ending))
            found[small.removesuffix(ending)].append(name)
    return {stem: tuple(sorted(those)) for stem, those in found.items()}


def _skip(name: str) -> bool:
    """Folders without models: configs beside a single file, and what preprocessors keep."""
    return name.endswith(".config") or name == "annotators"
