"""Weight files opened for reading one tensor at a time: safetensors by memory map, pickles only with `weights_only`."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open

from engine.errors import ModelFileError
from engine.library.headers import read_header
from engine.library.pickles import read_pickle_names

PICKLE_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin")


class Weights(Protocol):
    """Named tensors of one or several files, read when asked for."""

    def names(self) -> frozenset[str]:
        """Every name there is."""
        ...

    def get(self, name: str) -> torch.Tensor:
        """The tensor as it is stored; memory-mapped where the file allows."""
        ...


class _Mapped:
    """Tensors of memory-mapped safetensors files. Changing a tensor changes this process' copy, never the file."""

    def __init__(self, handles: dict[str, Any]) -> None:
        self._handles = handles

    def names(self) -> frozenset[str]:
        return frozenset(self._handles)

    def get(self, name: str) -> torch.Tensor:
        tensor: torch.Tensor = self._handles[name].get_tensor(name)
        return tensor


class _Unpickled:
    """Tensors of a pickle, read with `weights_only=True`: nothing but numbers comes out of it."""

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        self._tensors = tensors

    def names(self) -> frozenset[str]:
        return frozenset(self._tensors)

    def get(self, name: str) -> torch.Tensor:
        return self._tensors[name]


@contextmanager
def open_weights(path: Path) -> Iterator[Weights]:
    """Open a weight file: `.safetensors`, an index of shards (`….safetensors.index.json`), or a pickle.

    Raises:
        ModelFileError: `model_file_missing`, `model_file_truncated`, `model_file_not_a_model`, `model_file_unsafe`.
    """
    if not path.is_file():
        raise ModelFileError(
            "model_file_missing",
            f"The model file {path.name} is not there any more.",
            "Put it back, or refresh the models.",
        )
    with ExitStack() as stack:
        if path.name.endswith(".index.json"):
            yield _Mapped(_open_shards(path, stack))
        elif path.suffix.lower() in PICKLE_SUFFIXES:
            yield _Unpickled(_unpickle(path))
        else:
            yield _Mapped(_open_file(path, stack))


def _open_shards(index: Path, stack: ExitStack) -> dict[str, Any]:
    try:
        weight_map: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        shards = sorted({index.parent / Path(shard).name for shard in weight_map.values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(
            "model_file_not_a_model", f"The list of parts {index.name} cannot be read.", "Fetch the model again."
        ) from error
    handles: dict[str, Any] = {}
    for shard in shards:
        handles.update(_open_file(shard, stack))
    return handles


def _open_file(path: Path, stack: ExitStack) -> dict[str, Any]:
    header = read_header(path)
    try:
        handle = stack.enter_context(safe_open(path, framework="pt", device="cpu"))
    except (SafetensorError, OSError) as error:
        raise ModelFileError(
            "model_file_not_a_model", f"{path.name} cannot be read as a safetensors file: {error}.", "Fetch it again."
        ) from error
    return dict.fromkeys(header.tensors, handle)


def _unpickle(path: Path) -> dict[str, torch.Tensor]:
    # Looks through the pickle without running it, and refuses what would need more than numbers.
    read_pickle_names(path)
    try:
        value = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except pickle.UnpicklingError as error:
        raise unsafe(path) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise ModelFileError(
            "model_file_truncated", f"{path.name} ends too early or is damaged.", "Fetch the file again."
        ) from error
    while isinstance(value, dict) and isinstance(value.get("state_dict"), dict):
        value = value["state_dict"]
    if not isinstance(value, dict):
        raise ModelFileError("model_file_not_a_model", f"{path.name} holds no table of weights.", "It is not a model.")
    return {str(name): tensor for name, tensor in value.items() if isinstance(tensor, torch.Tensor)}


def unsafe(path: Path) -> ModelFileError:
    """The refusal of a pickle that holds more than weights."""
    return ModelFileError(
        "model_file_unsafe",
        f"{path.name} holds program code beside its weights, so Easel does not open it.",
        "Use the .safetensors version of this model.",
    )


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"
