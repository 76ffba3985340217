"""What a stack does to a model's weights at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from engine.adapters.modules import ModuleKey
from engine.adapters.patch import ModulePatch


@dataclass(frozen=True)
class Change:
    """One adapter's share of one module. `source` names the file and its state, so that equal signatures mean equal
    weights."""

    patch: ModulePatch
    scale: float
    source: str

    @property
    def signature(self) -> tuple[str, float]:
        return self.source, self.scale


Changes = tuple[Change, ...]


@dataclass(frozen=True)
class PatchPlan:
    """The changes of every module, in the order in which they are worked in; modules without a change are left out."""

    changes: Mapping[ModuleKey, Changes] = field(default_factory=dict)

    @cached_property
    def thin(self) -> bool:
        """Whether every change is a product of thin matrices that depends on no weight (LoRA, LoCon and their like)."""
        patches = [change.patch for changes in self.changes.values() for change in changes]
        return all(not patch.needs_base and patch.low_rank() is not None for patch in patches)

    def of(self, component: str) -> dict[str, Changes]:
        """The changes of one component's modules, by path."""
        return {path: changes for (where, path), changes in self.changes.items() if where == component}


NO_CHANGES = PatchPlan()


def signature_of(changes: Changes) -> tuple[tuple[str, float], ...]:
    """Equal for equal results: a layer is worked on only where this differs."""
    return tuple(change.signature for change in changes)
