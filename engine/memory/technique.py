"""Technique: what all measures have in common, and how the parts of a model are found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from engine.memory.levels import MemoryOptimizationConfig
from engine.memory.resources import SystemResources

Modules = Mapping[str, Any]
TEXT_PARTS = ("text_encoder", "text_encoder_2", "text_encoder_3")
DENOISERS = ("unet", "transformer", "controlnet")
# The order in which parts work: each leaves the GPU when the next one comes.
WORK_ORDER = (*TEXT_PARTS, "image_encoder", "controlnet", "unet", "transformer", "vae")


@dataclass(frozen=True)
class Applied:
    """What a technique did. `why` says in a sentence why it did nothing, or what it cost; `reload` names parts whose
    weights must be read again from their file to be what they were."""

    name: str
    done: bool
    why: str = ""
    reload: tuple[str, ...] = ()


@dataclass(frozen=True)
class Machine:
    """Where the modules compute and rest."""

    resources: SystemResources
    onload: torch.device
    offload: torch.device = field(default_factory=lambda: torch.device("cpu"))
    # The format that layers compute in, where weights may rest in another one; None: that of the widest weights.
    compute: torch.dtype | None = None

    @property
    def travels(self) -> bool:
        """Whether moving weights away saves anything."""
        return self.onload != self.offload and not self.resources.unified


class Technique(Protocol):
    """One measure."""

    name: str

    def apply(self, modules: Modules, machine: Machine, config: MemoryOptimizationConfig) -> Applied:
        """Put it on."""
        ...

    def remove(self, modules: Modules, machine: Machine) -> Applied:
        """Take it off; the modules are then as before, but for what `Applied.reload` names."""
        ...

    def saving(self) -> str:
        """What it saves and costs, in words."""
        ...


def those(modules: Modules, parts: Iterable[str]) -> list[Any]:
    return [modules[part] for part in parts if isinstance(modules.get(part), torch.nn.Module)]


def ordered(modules: Modules) -> list[str]:
    known = [part for part in WORK_ORDER if part in modules]
    return [part for part in (*known, *(part for part in modules if part not in WORK_ORDER))
            if isinstance(modules[part], torch.nn.Module)]  # fmt: skip
