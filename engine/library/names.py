"""Unique, stable ids for files, and the ways in which people name a model."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

_ENDINGS = frozenset({".safetensors", ".ckpt", ".pt", ".pth", ".bin"})


def unique_ids(paths: Sequence[Path], taken: Iterable[str] = ()) -> list[str]:
    """An id for each path: the name without suffix; where that is taken, with as much of its folders as is needed.

    The earlier path keeps the shorter id, so a folder that is added later renames nothing.
    """
    used = {name.casefold() for name in taken}
    result: list[str] = []
    for path in paths:
        # A folder's name may have a dot in it; what ends as model files do is not looked at for that.
        stem = path.stem if path.suffix.lower() in _ENDINGS or not path.is_dir() else path.name
        chosen = next(name for name in _candidates(path, stem) if name.casefold() not in used)
        used.add(chosen.casefold())
        result.append(chosen)
    return result


def _candidates(path: Path, stem: str) -> Iterator[str]:
    yield stem
    folders = path.parts[:-1]
    for depth in range(1, min(len(folders), 4)):
        yield "/".join([*folders[-depth:], stem])
    yield f"{stem}{path.suffix}"
    yield from (f"{stem} ({number})" for number in itertools.count(2))


def find(name: str, ids: Mapping[str, Sequence[str]], hashes: Mapping[str, str]) -> str | None:
    """The id that `name` means: an id, another of its names, a hash's beginning, or A1111's "name [hash]".

    Args:
        ids: id → its other names (title, file name). hashes: id → SHA-256, "" while unknown.
    """
    wanted = name.strip().casefold()
    for model_id in ids:
        if model_id.casefold() == wanted:
            return model_id
    for model_id, others in ids.items():
        if any(other.casefold() == wanted for other in others):
            return model_id
    if match := re.fullmatch(r"(.+?)\s*\[([0-9a-f]{8,64})\]", wanted):
        return find(match[2], {}, hashes) or find(match[1], ids, hashes)
    if re.fullmatch(r"[0-9a-f]{8,64}", wanted):
        for model_id, hash_ in hashes.items():
            if hash_ and hash_.startswith(wanted):
                return model_id
    return None


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint with the nearest names, or with the first few."""
    known = list(dict.fromkeys(names))
    folded = {each.casefold(): each for each in known}
    near = [folded[each] for each in difflib.get_close_matches(name.casefold(), list(folded), n=3, cutoff=0.4)]
    if near:
        return f"Did you mean {_listed(near)}?"
    return f"There is {_listed(known[:5])}." if known else "There is none yet."


def _listed(names: Sequence[str]) -> str:
    quoted = [f"“{name}”" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"
