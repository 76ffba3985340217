"""Budgets: how much the pool may keep where models compute, and in RAM beside it. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from engine.errors import SpecError
from engine.memory.resources import SystemResources
from engine.memory.sizes import GIB, in_words

# The rest of a GPU's memory is for activations, which the pool does not hold.
_OF_VRAM, _OF_RAM = 0.7, 0.5


@dataclass(frozen=True)
class PoolBudget:
    """Bytes: `work` where models compute, `rest` for what rests in RAM beside a GPU (0 without one)."""

    work: int
    rest: int = 0


def pool_budget(resources: SystemResources, pool_gb: float = 0.0) -> PoolBudget:
    """The pool's budgets: as asked, or 70 % of the free VRAM (half of the free RAM without a GPU).

    Args:
        pool_gb: GB of 1024³ bytes; 0 chooses.

    Raises:
        SpecError: `memory_budget_out_of_range`, negative, not finite, or more than the machine has.
    """
    checked_budget(resources, pool_gb)
    if not resources.has_gpu:
        return PoolBudget(int((pool_gb or resources.available_gb * _OF_RAM) * GIB))
    work = int((pool_gb or resources.available_vram_gb * _OF_VRAM) * GIB)
    return PoolBudget(work, int(resources.available_ram_gb * _OF_RAM * GIB))


def checked_budget(resources: SystemResources, pool_gb: float) -> float:
    """The same number if it can be a budget. Raises SpecError `memory_budget_out_of_range`."""
    most = resources.total_vram_gb if resources.device != "cpu" else resources.total_ram_gb
    if math.isfinite(pool_gb) and 0 <= pool_gb <= most:
        return pool_gb
    has = f"this machine has {in_words(most * GIB)} where models compute"
    raise SpecError(
        "memory_budget_out_of_range",
        f"A pool of {pool_gb:g} GB cannot be: {has}.",
        f"Give a size from 0 to {most:.1f}; 0 chooses by itself.",
    )
