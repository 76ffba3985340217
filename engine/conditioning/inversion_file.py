"""Reading textual inversions: the vectors that stand for a word.

Formats: A1111 (`emb_params` in safetensors, `string_to_param` in a pickle), SDXL (`clip_l` and `clip_g`), diffusers (a
tensor under its token), and the same keys inside an adapter ("bundle_emb"). Pickles only come in with `weights_only`.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import ParameterDict

from engine.errors import ModelFileError
from engine.library.headers import not_a_model, read_header
from engine.library.pickles import read_pickle_names

# Hundreds of vectors are a megabyte.
LARGEST = 64 * 1024**2
_FLAT = "string_to_param."


@dataclass(frozen=True)
class Inversion:
    """The vectors for one word: for each text encoder a tensor of shape (n, width), float32. SDXL has two encoders."""

    vectors: tuple[Tensor, ...]

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(int(part.shape[1]) for part in self.vectors)

    @property
    def length(self) -> int:
        """How many vectors it has, at most."""
        return max(int(part.shape[0]) for part in self.vectors)


def read_inversion(path: Path, token: str = "") -> Inversion:
    """Read a file.

    Args:
        token: which of several words in one file; "" where it has one.

    Raises:
        ModelFileError: it is missing, cut off, too large, unsafe, no embedding, or holds values that are no numbers.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise not_a_model(path, "an embedding is a few vectors, and this is far more")
        held = _safe_tensors(path) if path.suffix.lower() == ".safetensors" else _unpickled(path)
    except FileNotFoundError as error:
        raise ModelFileError(
            "model_file_missing", f"{path.name} is not there any more.", "Put it back, or refresh the models."
        ) from error
    except OSError as error:
        raise ModelFileError(
            "model_file_missing", f"{path.name} cannot be opened: {error.strerror}.", "Check the file's permissions."
        ) from error
    return inversion_of(held, path.name, token)


def inversion_of(held: Any, title: str, token: str = "") -> Inversion:
    """The vectors among what a file, or an adapter under a word, holds.

    Args:
        held: names → tensors or tables of them, or a tensor alone.
        title: for the sentences of errors.

    Raises:
        ModelFileError: `model_file_not_a_model`.
    """
    return Inversion(tuple(_checked(part, title) for part in _parts(held, title, token)))


def _parts(held: Any, title: str, token: str) -> list[Any]:
    if isinstance(held, Tensor):
        return [held]
    table = _table(held)
    if token and token in table:
        return [table[token]]
    if "clip_l" in table and "clip_g" in table:
        return [table["clip_l"], table["clip_g"]]
    if "clip_g" in table:
        raise _damaged(title, "its part for the first text encoder is missing")
    for name in ("clip_l", "emb_params"):
        if name in table:
            return [table[name]]
    if "string_to_param" in table:
        return [_single(_table(table["string_to_param"]), title)]
    flat = {name: value for name, value in table.items() if name.startswith(_FLAT)}
    return [_single(flat or {name: value for name, value in table.items() if isinstance(value, Tensor)}, title)]


def _single(table: Mapping[str, Any], title: str) -> Any:
    if not table:
        raise _damaged(title, "there are no vectors in it")
    if len(table) > 1:
        words = ", ".join(f"“{name[:40]}”" for name in list(table)[:4])
        raise _damaged(title, f"it holds several words ({words})")
    return next(iter(table.values()))


def _checked(part: Any, title: str) -> Tensor:
    if not isinstance(part, Tensor) or not part.is_floating_point() or part.is_sparse or not part.numel():
        raise _damaged(title, "there are no vectors in it")
    if part.dim() not in (1, 2):
        raise _damaged(title, f"its numbers have the shape {tuple(part.shape)}, which is no list of vectors")
    vectors = part.detach().float().reshape(-1, part.shape[-1]).clone()
    if not torch.isfinite(vectors).all():
        raise _damaged(title, "it holds values that are no numbers")
    return vectors


def _table(held: Any) -> dict[str, Any]:
    if isinstance(held, ParameterDict):
        # Files of the method's first authors. Older torch kept the parameters there, newer beside the other fields.
        held = {**held.__dict__, **held.__dict__.get("_parameters", {})}
        held = {name: value for name, value in held.items() if isinstance(value, Tensor)}
    return {str(name): value for name, value in held.items()} if isinstance(held, Mapping) else {}


def _safe_tensors(path: Path) -> dict[str, Tensor]:
    read_header(path)
    try:
        # Read whole, not mapped: the file may change or go afterwards.
        return safetensors.torch.load(path.read_bytes())
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise not_a_model(path, str(error)[:100]) from error


def _unpickled(path: Path) -> Any:
    # Looks through the pickle without running it, and refuses what would need more than numbers.
    read_pickle_names(path)
    try:
        with torch.serialization.safe_globals([ParameterDict]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelFileError(
            "model_file_unsafe",
            f"{path.name} holds more than numbers, so Easel does not open it.",
            "Get its .safetensors version.",
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ModelFileError(
            "model_file_truncated", f"{path.name} ends too early or is damaged.", "Fetch the file again."
        ) from error


def _damaged(title: str, why: str) -> ModelFileError:
    return ModelFileError("model_file_not_a_model", f"{title} cannot be used: {why}.", "Get the file again.")
