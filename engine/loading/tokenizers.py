"""Tokenizers: made once for each set of word lists, and given out as copies.

transformers keeps what it makes of word lists for ever (9 MB for CLIP's, at every load), but copies go. So models with
the same lists, and the same model loaded again, take copies of one; each copy may be used on another thread.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from engine.errors import ModelFileError
from engine.families.families import CLIP_TOKENIZER
from engine.library.entries import ModelEntry
from engine.loading.torchvision_guard import guard_torchvision


@dataclass(frozen=True)
class _Words:
    """Where the lists lie; equal digests are the same lists and settings."""

    digest: str
    folder: Path = field(compare=False)
    settings: Mapping[str, Any] = field(compare=False, default_factory=dict)


def load_tokenizer(entry: ModelEntry, part: str) -> Any:
    """The tokenizer of `part`: with the model's own word lists where it has them, else with the shipped ones.

    Raises:
        ModelFileError: `model_parts_missing`, the lists cannot be read.
    """
    guard_torchvision()
    folder = entry.path / part if entry.path.is_dir() else (entry.config_dir or entry.family.config_dir) / part
    try:
        if (folder / "vocab.json").is_file() or (folder / "tokenizer.json").is_file():
            return copy.deepcopy(_own(_Words(_digest(folder), folder)))
        settings = entry.config.get(part) or entry.family.config(part)
        settings = {name: value for name, value in settings.items() if name != "tokenizer_class"}
        said = json.dumps(settings, sort_keys=True, default=str)
        return copy.deepcopy(_shipped(_Words(said, CLIP_TOKENIZER, settings)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelFileError(
            "model_parts_missing", f"The tokenizer of {entry.view.title} cannot be read: {error}.", "Fetch it again."
        ) from error


@lru_cache(maxsize=64)
def _own(words: _Words) -> Any:
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(words.folder, local_files_only=True)


@lru_cache(maxsize=64)
def _shipped(words: _Words) -> Any:
    from transformers import CLIPTokenizer

    lists = {"vocab": str(words.folder / "vocab.json"), "merges": str(words.folder / "merges.txt")}
    return CLIPTokenizer(**lists, **words.settings)


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.suffix in (".json", ".txt"):
            digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()
