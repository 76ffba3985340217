"""An adapter file read into patches for one model: whole or not at all."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from engine.adapters.kinds.parts import Damaged, Incomplete, Misfit, Parts
from engine.adapters.match import EMBEDDING_PREFIX, match_names, report_of, require_usable
from engine.adapters.modules import ModuleKey, Targets
from engine.adapters.patch import ModulePatch
from engine.adapters.peft_settings import PeftSettings, peft_settings
from engine.adapters.reading import read_patch
from engine.adapters.stored import Stored, Storing, keep_small
from engine.errors import AdapterError, ModelFileError
from engine.library.adapter_storage import StorageFormat
from engine.library.headers import read_header
from engine.protocol.adapters import AdapterReport

_SUFFIX = ".safetensors"
Stamp = tuple[int, int]
"""(size in bytes, modification time in nanoseconds): the file is the same while this is."""


@dataclass(frozen=True)
class Adapter:
    """A file's patches for one model.

    Attributes:
        patches: what it does to each module that fits. They own their memory: the file may change or go.
        embeddings: textual inversions that came inside ("bundle_emb"): name → its tensors by the rest of the key.
        nbytes: of all tensors, as they are kept.
        stored: how it is kept where that is smaller than the file has it; None: as the file has it.
    """

    path: Path
    stamp: Stamp
    patches: Mapping[ModuleKey, ModulePatch]
    report: AdapterReport
    nbytes: int
    embeddings: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    stored: Stored | None = None

    @property
    def source(self) -> str:
        """The file, its state and how it is kept: equal for equal patches."""
        size, changed = self.stamp
        return f"{self.path}|{size}|{changed}" + (f"|{self.stored.format}" if self.stored else "")


def stamp_of(path: Path) -> Stamp:
    """The file's stamp.

    Raises:
        ModelFileError: `model_file_missing`.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise _missing(path) from error
    return status.st_size, status.st_mtime_ns


def read_adapter(
    path: Path, targets: Targets, *, title: str, adapter_id: str = "", storage: StorageFormat | None = None
) -> Adapter:
    """Read what of a file fits a model. Each tensor is read once, through a memory map.

    Args:
        title: the adapter's name for the sentences of errors.
        storage: keep it in that format where that is smaller; None: in the file's dtype.

    Raises:
        ModelFileError: the file is missing, truncated, no safetensors file, a pickle, or changed while it was read.
        AdapterError: `adapter_family_mismatch`, `adapter_matches_nothing`, `adapter_damaged`, `adapter_not_finite`.
    """
    if path.suffix.lower() != _SUFFIX:
        raise ModelFileError(
            "model_file_unsafe",
            f"{path.name} is not a safetensors file, and other formats can run code when they are opened.",
            "Get its .safetensors version.",
        )
    stamp = stamp_of(path)
    header = read_header(path)
    found = match_names(header, targets)
    report = report_of(found, targets, adapter_id=adapter_id, title=title)
    require_usable(report, found, targets)
    settings = peft_settings(path, header.metadata)
    read: dict[ModuleKey, Storing] = {}
    embeddings: dict[str, dict[str, Tensor]] = defaultdict(dict)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            for key, names in found.modules.items():
                tensors = {suffix: _tensor(file, name, title) for suffix, name in names.items()}
                read[key] = _patch(tensors, key, targets, settings, title, storage)
            for name in found.embeddings:
                word, _, rest = name.removeprefix(EMBEDDING_PREFIX).partition(".")
                embeddings[word][rest] = _tensor(file, name, title)
    except FileNotFoundError as error:
        raise _missing(path) from error
    except (SafetensorError, OSError) as error:
        raise ModelFileError(
            "model_file_not_a_model", f"{path.name} cannot be read: {error}.", "Get the file again."
        ) from error
    if stamp_of(path) != stamp:
        raise ModelFileError(
            "model_file_changed", f"{path.name} changed while it was read.", "Try again when the copying is done."
        )
    patches = {key: each.patch for key, each in read.items()}
    nbytes = sum(patch.nbytes for patch in patches.values())
    nbytes += sum(tensor.nbytes for word in embeddings.values() for tensor in word.values())
    return Adapter(path, stamp, patches, report, nbytes, dict(embeddings), _stored(list(read.values()), storage))


def _stored(read: Sequence[Storing], storage: StorageFormat | None) -> Stored | None:
    whole = sum(each.whole_nbytes for each in read)
    if storage is None or sum(each.patch.nbytes for each in read) >= whole:
        return None
    return Stored(storage, whole, math.sqrt(sum(each.loss_squared for each in read) / len(read)))


def _patch(
    tensors: dict[str, Tensor],
    key: ModuleKey,
    targets: Targets,
    settings: PeftSettings,
    title: str,
    storage: StorageFormat | None,
) -> Storing:
    alpha = tensors.pop("alpha", None)
    parts = Parts(
        tensors,
        settings.alpha(key) if alpha is None else _number(alpha),
        cayley_terms=settings.cayley_terms(key),
        on_input=settings.on_input(key),
    )
    try:
        if storage is not None:
            return keep_small(parts, targets.modules[key], storage)
        patch = read_patch(parts, targets.modules[key])
    except (Misfit, Damaged, Incomplete) as error:
        # The header fitted; only what stands in values (a flag, a config) can bring us here.
        raise AdapterError("adapter_damaged", f"{title} is damaged: {error}.", "Get the file again.") from error
    return Storing(patch, patch.nbytes, 0.0)


def _tensor(file: Any, name: str, title: str) -> Tensor:
    # A copy: a mapped tensor would change, or end the process, when somebody overwrites the file.
    tensor: Tensor = file.get_tensor(name).clone()
    if tensor.is_floating_point() and tensor.numel() and not _finite(tensor):
        raise AdapterError(
            "adapter_not_finite",
            f"{title} holds values that are no numbers (in “{name}”), so it would only make black pictures.",
            "Get the file again, or leave the adapter out.",
        )
    return tensor


def _finite(tensor: Tensor) -> bool:
    # A sum needs no second tensor, and is finite whenever all values are, but for enormous ones: then look closely.
    total = tensor.float().sum() if tensor.element_size() == 1 else tensor.sum(dtype=torch.float32)
    return bool(torch.isfinite(total)) or bool(torch.isfinite(tensor.float()).all())


def _number(alpha: Tensor) -> float | None:
    return float(alpha.float().reshape(-1)[0]) if alpha.numel() else None


def _missing(path: Path) -> ModelFileError:
    return ModelFileError(
        "model_file_missing",
        f"The adapter file {path.name} is not there any more.",
        "Put it back, or refresh the adapters.",
    )
