"""The number format in which weights rest under a level, where that is narrower than what they compute in. No torch."""

from __future__ import annotations

from engine.memory.activations import DTYPE_BYTES
from engine.memory.levels import FP8, FROM_FILE


def resting_format(asked: str, stored: str, compute: str) -> str:
    """The name of the format: what the level asks for, or `compute` where that would not be narrower.

    Args:
        asked: the level's `storage_dtype`. stored: that of the file, "" where it does not tell.
    """
    wanted = stored if asked == FROM_FILE else asked
    return wanted if DTYPE_BYTES.get(wanted, 16) < DTYPE_BYTES[compute] else compute


def loaded_in(resting: str, stored: str) -> str:
    """The format to load in: what is rounded to 8 bits is loaded in 16, which is all that its file has, mostly."""
    if resting != FP8:
        return resting
    return stored if stored == "float16" else "bfloat16"
