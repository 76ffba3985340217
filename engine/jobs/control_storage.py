"""How a ControlNet's weights rest under the memory level of the model that it guides.

A level may let weights rest as their file has them, or in 8 bits; both widen one layer at a time while it works. What
moves weights between RAM and a GPU is for the model's own parts: a ControlNet stays where it computes, and the forecast
counts it there. Networks run one after another, so that one of them has activations at a time.
"""

from __future__ import annotations

from typing import Any

import torch

from engine.memory.levels import FP8, FROM_FILE, MemoryOptimizationConfig
from engine.memory.optimizer import MemoryOptimizer


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
