"""Save and resume a training run: one file, written atomically, bound to the settings it was made with."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from training.errors import RecipeError
from training.files import write_atomically


def fingerprint(settings: dict[str, Any]) -> str:
    """A short hash of everything that decides the shapes and the meaning of a checkpoint."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:16]


def save_checkpoint(path: Path, state: dict[str, Any], settings: dict[str, Any]) -> None:
    """`state` holds tensors, numbers, strings and containers of them. Raises `RecipeError` on a full disk."""
    document = {"fingerprint": fingerprint(settings), "settings": settings, "state": state}
    write_atomically(path, lambda target: torch.save(document, target))


def load_checkpoint(path: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The saved state, None where there is none. Raises `RecipeError` for a damaged file or other settings."""
    if not path.exists():
        return None
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
        print_of, state = document["fingerprint"], document["state"]
    except Exception as error:
        raise RecipeError(f"The checkpoint {path.name} is damaged.", "Delete it to start anew.") from error
    if print_of != fingerprint(settings):
        old = document.get("settings", {})
        changed = [key for key in settings if old.get(key) != settings[key]] or ["settings"]
        raise RecipeError(
            f"The checkpoint {path.name} comes from another configuration ({', '.join(changed)} differ).",
            "Delete it to start anew, or go back to that configuration.",
        )
    return state
