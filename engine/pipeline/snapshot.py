"""ContextSnapshot: a half-done picture as bytes: safetensors with JSON in the header, no pickle."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from engine.protocol.specs import GenerationSpec

SNAPSHOT_SCHEMA = 1
_KEY = "easel.snapshot"


class SnapshotUnusableError(Exception):
    """The bytes are no snapshot, or one of another picture, model or version: the picture starts anew."""


@dataclass(frozen=True)
class ContextSnapshot:
    """Tensors (latents, generator state, scheduler state) and a JSON tree that says what they are."""

    tensors: dict[str, torch.Tensor]
    tree: dict[str, Any]

    def to_bytes(self) -> bytes:
        """One safetensors file."""
        return save(self.tensors, metadata={_KEY: json.dumps(self.tree)})

    @classmethod
    def from_bytes(cls, data: bytes) -> ContextSnapshot:
        """Read what `to_bytes` wrote. Raises SnapshotUnusableError where it is not that."""
        try:
            length = int.from_bytes(data[:8], "little")
            tree = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][_KEY])
            tensors = load(data)
        except (ValueError, KeyError, TypeError, SafetensorError) as error:
            raise SnapshotUnusableError(str(error)) from error
        if not isinstance(tree, dict) or tree.get("schema") != SNAPSHOT_SCHEMA:
            raise SnapshotUnusableError("another schema")
        return cls(tensors, tree)


def recipe_digest(spec: GenerationSpec, seed: int, model: str, adapters: tuple[str, ...] = ()) -> str:
    """What must be the same for a snapshot to go on: everything that decides the picture.

    Args:
        adapters: the adapters' files and their states; the spec only names them.
    """
    fields = {
        name: value
        for name, value in spec.model_dump(mode="json", by_alias=True).items()
        if name not in ("seed", "count", "batch_size", "output", "styles", "on_missing")
    }
    text = json.dumps([fields, seed, model, *adapters], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
