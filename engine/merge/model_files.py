"""A model's files written anew, tensor by tensor: a single file, or a diffusers folder that appears whole."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from engine.adapters.modules import COMPONENTS
from engine.errors import MergeError
from engine.images.disk import TEMP_PREFIX, TEMP_SUFFIX, storage_error, unfinished
from engine.library.entries import ModelEntry
from engine.library.headers import BITS, read_header
from engine.loading.weights import Weights, open_weights
from engine.merge.bases import part_file
from engine.merge.beside import copy_beside, copy_rest, rename_folder
from engine.merge.provenance import with_hash
from engine.merge.writer import StreamWriter, refuse_taken, require_space, streamed

Change = Callable[[str, str, Tensor], Tensor]
"""(part or "" for a single file, name in the file, tensor as stored) → the tensor to write, of the same dtype."""


class ModelRewriter:
    """The new file or folder while it grows."""

    def __init__(self) -> None:
        self.auto_v3 = ""
        self.parameters = 0
        self.size_bytes = 0

    def took(self, writer: StreamWriter) -> None:
        """Add up what a finished file had."""
        self.auto_v3 = self.auto_v3 or writer.auto_v3
        self.parameters += writer.parameters


def names_in(entry: ModelEntry) -> dict[str, frozenset[str]]:
    """Part → names of its tensors, for the parts that adapters change; "" for a single file."""
    if not entry.path.is_dir():
        with open_weights(entry.path) as weights:
            return {"": weights.names()}
    found: dict[str, frozenset[str]] = {}
    for part in COMPONENTS:
        if part in entry.family.parts:
            with open_weights(part_file(entry, part)) as weights:
                found[part] = weights.names()
    return found


def rewritten(
    entry: ModelEntry,
    out: Path,
    change: Change,
    *,
    parts: Collection[str],
    metadata: Mapping[str, str],
    replace: bool,
    state: ModelRewriter,
) -> Iterator[tuple[str, str, int]]:
    """Write a model again; yields (part, name, numbers) after every tensor. Nothing is left when it is closed early.

    Args:
        parts: of a folder, whose weights change; the others are copied.
        metadata: added to what the files say.
    """
    if entry.path.is_dir():
        yield from _folder(entry, out, change, parts, metadata, replace, state)
    else:
        require_suffix(out)
        yield from _file(entry.path, "", out, change, metadata, replace, state)
        copy_beside(entry.path, out)
        state.size_bytes = out.stat().st_size


def require_suffix(out: Path) -> None:
    """A single file is written as safetensors only.

    Raises:
        MergeError: `merge_name_invalid`.
    """
    if out.suffix != ".safetensors":
        raise MergeError("merge_name_invalid", f"{out.name} does not end in .safetensors.", "Give it that ending.")


def _file(
    source: Path,
    part: str,
    out: Path,
    change: Change,
    metadata: Mapping[str, str],
    replace: bool,
    state: ModelRewriter,
) -> Iterator[tuple[str, str, int]]:
    safe = source.suffix.lower() == ".safetensors"
    own = dict(read_header(source).metadata) if safe else {"format": "pt"}
    told = {**own, **metadata}
    with open_weights(source) as weights:
        names = _ordered(source, weights) if safe else sorted(weights.names(), key=lambda name: -_width(weights, name))
        size = source.stat().st_size
        with streamed(out, tensors=len(names), metadata=told, expected_bytes=size, replace=replace) as writer:
            for name in names:
                tensor = weights.get(name)
                writer.add(name, change(part, name, tensor))
                yield part, name, tensor.numel()
                del tensor
            writer.metadata = with_hash(told, writer.auto_v3) if not part else told
        state.took(writer)


def _folder(
    entry: ModelEntry,
    out: Path,
    change: Change,
    parts: Collection[str],
    metadata: Mapping[str, str],
    replace: bool,
    state: ModelRewriter,
) -> Iterator[tuple[str, str, int]]:
    what = f"The model {out.name}"
    refuse_taken(out, replace=replace)
    with _new_folder(out, what, replace=replace) as temporary:
        sizes = sum(file.stat().st_size for file in entry.path.rglob("*") if file.is_file())
        require_space(temporary.parent, sizes, what)
        chosen = {part: part_file(entry, part) for part in parts}
        copy_rest(entry.path, temporary, chosen)
        rename_folder(temporary, out.name)
        for part, source in chosen.items():
            for file in _shards(source):
                target = temporary / part / file.with_suffix(".safetensors").name
                yield from _file(file, part, target, change, metadata, False, state)
            if source.name.endswith(".index.json"):
                shutil.copy2(source, temporary / part / source.name)
        state.size_bytes = sum(file.stat().st_size for file in temporary.rglob("*") if file.is_file())


@contextmanager
def _new_folder(out: Path, what: str, *, replace: bool) -> Iterator[Path]:
    try:
        with unfinished(out, folder=True) as temporary:
            yield temporary
            refuse_taken(out, replace=replace)
            if out.exists():
                aside = out.with_name(f"{TEMP_PREFIX}{secrets.token_hex(8)}{TEMP_SUFFIX}")
                os.replace(out, aside)
                os.replace(temporary, out)
                shutil.rmtree(aside, ignore_errors=True)
            else:
                os.replace(temporary, out)
    except OSError as error:
        raise storage_error(error, what) from error


def _shards(source: Path) -> list[Path]:
    if not source.name.endswith(".index.json"):
        return [source]
    shards = json.loads(source.read_text(encoding="utf-8"))["weight_map"].values()
    return sorted({source.parent / Path(shard).name for shard in shards})


def _ordered(source: Path, weights: Weights) -> list[str]:
    """As they lie in the file, wider types first so that all are aligned."""
    tensors = read_header(source).tensors
    return sorted(weights.names(), key=lambda name: (-BITS[tensors[name].dtype], tensors[name].start))


def _width(weights: Weights, name: str) -> int:
    return weights.get(name).element_size()
