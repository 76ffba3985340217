"""How a ControlNet's weights rest under the memory level of the model that it guides.

A level may let weights rest as their file has them, or in 8 bits; both widen one layer at a time while it works. What
moves weights between RAM and a GPU is for the model's own parts: a ControlNet stays where it computes, and the forecast
counts it there. Networks run one after another, so that one of them has activations at a time.
"""

from __future__ import annotations

from typing import Any

import torch

from engine.memory.levels import FROM_FILE, MemoryOptimizationConfig
from engine.memory.optimizer import MemoryOptimizer

FP8 = "float8_e4m3fn"


def resting_format(level: MemoryOptimizationConfig | None, stored: str, compute: torch.dtype) -> str:
    """The name of the format in which the weights rest.

    Args:
        stored: that of the file, "" where it does not tell.
    """
    own = str(compute).removeprefix("torch.")
    wanted = level.storage_dtype if level is not None else ""
    wanted = stored if wanted == FROM_FILE else wanted
    known = getattr(torch, wanted, None) if wanted else None
    return wanted if isinstance(known, torch.dtype) and known.itemsize < compute.itemsize else own


def loaded_in(resting: str, stored: str) -> torch.dtype:
    """The format to load in: what is rounded to 8 bits is loaded in 16, which is all that its file has, mostly."""
    if resting != FP8:
        found: torch.dtype = getattr(torch, resting)
        return found
    return torch.float16 if stored == "float16" else torch.bfloat16


def let_rest(module: Any, resting: str, compute: torch.dtype) -> Any:
    """Let the weights of a loaded ControlNet rest in that format and compute in theirs."""
    if resting != str(compute).removeprefix("torch."):
        rounds = resting == FP8
        config = MemoryOptimizationConfig(
            storage_dtype=FP8 if rounds else FROM_FILE,
            enable_fp8_storage=rounds,
            enable_channels_last=False,
            enable_efficient_attention=False,
        )
        MemoryOptimizer(config, compute=compute).optimize_modules({"controlnet": module})
    return module
