"""What peft and diffusers keep beside the tensors: alpha by module, how OFT is computed, which (IA)³ scale the input.

Sources: the metadata "lora_adapter_metadata" of diffusers' files, or `adapter_config.json` beside an
`adapter_model.safetensors`. Where neither is, peft's own defaults hold.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.adapters.modules import COMPONENTS, ModuleKey

METADATA_KEY = "lora_adapter_metadata"
CONFIG_NAME = "adapter_config.json"
_TENSORS_NAME = "adapter_model.safetensors"
_LARGEST = 1_000_000


@dataclass(frozen=True)
class PeftSettings:
    """One peft config per component, "" for all of them; empty where the file has none."""

    configs: Mapping[str, Mapping[str, Any]]

    def alpha(self, key: ModuleKey) -> float | None:
        """The alpha that a module's tensors stand for; with rank-stabilised scaling, as if it were plain."""
        config = self._config(key)
        alpha = _by_pattern(config.get("alpha_pattern"), key[1], config.get("lora_alpha", config.get("alpha")))
        rank = _by_pattern(config.get("rank_pattern"), key[1], config.get("r"))
        if alpha is None:
            return None
        return alpha * math.sqrt(rank) if config.get("use_rslora") and rank and rank > 0 else alpha

    def cayley_terms(self, key: ModuleKey) -> int:
        """Terms of the series that stands for OFT's inverse; 0: the inverse itself."""
        config = self._config(key)
        if config.get("use_cayley_neumann", True) is False:
            return 0
        terms = config.get("num_cayley_neumann_terms", 5)
        return terms if isinstance(terms, int) and 0 < terms < 100 else 5

    def on_input(self, key: ModuleKey) -> bool | None:
        """Whether (IA)³ scales what goes in; None: nobody says."""
        wanted = self._config(key).get("feedforward_modules")
        if isinstance(wanted, str):
            return _fullmatch(wanted, key[1])
        if isinstance(wanted, list):
            return any(key[1] == each or key[1].endswith(f".{each}") for each in wanted)
        return None

    def _config(self, key: ModuleKey) -> Mapping[str, Any]:
        return self.configs.get(key[0], self.configs.get("", {}))


def peft_settings(path: Path, metadata: Mapping[str, str]) -> PeftSettings:
    """The settings of a file; none at all where they are absent or cannot be read."""
    if (text := metadata.get(METADATA_KEY)) is not None:
        flat = _table(text)
        configs = {
            component: {
                name.removeprefix(f"{component}."): value
                for name, value in flat.items()
                if name.startswith(f"{component}.")
            }
            for component in COMPONENTS
        }
        return PeftSettings({component: config for component, config in configs.items() if config})
    if path.name == _TENSORS_NAME:
        try:
            beside = path.with_name(CONFIG_NAME)
            return PeftSettings({"": _table(beside.read_text("utf-8")[:_LARGEST])})
        except (OSError, ValueError):
            pass
    return PeftSettings({})


def _table(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _by_pattern(patterns: object, path: str, default: object) -> float | None:
    """peft's rule: the first pattern that is the path or a tail of it."""
    if isinstance(patterns, dict):
        for pattern, value in patterns.items():
            if _fullmatch(rf"(.*\.)?({pattern})", path):
                return _number(value)
    return _number(default)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _fullmatch(pattern: str, path: str) -> bool:
    try:
        return re.fullmatch(pattern, path) is not None
    except re.error:
        return False
