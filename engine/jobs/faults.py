"""What a failure means: whether it is worth another try, and its sentence."""

from __future__ import annotations

from engine.errors import (
    GenerationError,
    OutOfMemoryError,
    StorageError,
    StudioError,
)

MAX_TRIES = 3
BACKOFF_SECONDS = (1.0, 4.0, 10.0)


def as_studio_error(error: Exception) -> StudioError:
    """Any exception as an error with a code."""
    if isinstance(error, StudioError):
        return error
    text = str(error)
    if isinstance(error, MemoryError) or "out of memory" in text.lower() or "can't allocate memory" in text.lower():
        return OutOfMemoryError(
            "out_of_memory", "The machine ran out of memory.", "Try a smaller size or fewer pictures at once."
        )
    return GenerationError(
        "generation_failed",
        f"The picture could not be made ({type(error).__name__}: {text[:200]}).",
        "Try fewer steps or the model's default settings; the engine's log has the details.",
    )


def is_transient(error: StudioError) -> bool:
    """Whether the same job may well succeed a little later. Bad input never is."""
    if isinstance(error, StorageError):
        return error.code in ("disk_full", "disk_error")
    return isinstance(error, OutOfMemoryError) and error.code == "out_of_memory"
