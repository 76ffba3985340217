"""TokenCounter: how long a prompt is for a model."""

from __future__ import annotations

import threading
from typing import Any

import torch

from engine.conditioning.encode import count_tokens
from engine.conditioning.inversions import file_sources
from engine.library.library import Library
from engine.loading.loader import load_component
from engine.protocol.commands import TokenCount


class TokenCounter:
    """Keeps the tokenizers that it has used; they are small, and safe under the lock. Any thread."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._lock = threading.Lock()
        self._tokenizers: dict[str, Any] = {}

    def count(self, prompt: str, model: str | None) -> TokenCount:
        """Tokens of `prompt` for the model called `model` (None: the default one). Raises SpecError, ModelFileError."""
        entry = self._library.find_model(model)
        with self._lock:
            tokenizer = self._tokenizers.get(entry.view.id)
            if tokenizer is None:
                tokenizer = load_component(entry, "tokenizer", dtype=torch.float32, device=torch.device("cpu"))
                self._tokenizers[entry.view.id] = tokenizer
            sources = file_sources(self._library.embeddings)
            return count_tokens(prompt, tokenizer, sources=sources, widths=entry.text_widths)
