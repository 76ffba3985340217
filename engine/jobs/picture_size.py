"""The size that a picture may have, as every way in checks it."""

from __future__ import annotations

from engine.errors import SpecError
from engine.protocol.specs import SIZE_MULTIPLE, SIZE_RANGE


def checked_side(name: str, value: int) -> int:
    """A width or height in px.

    Raises:
        SpecError: `size_out_of_range`, `size_not_multiple`.
    """
    low, high = SIZE_RANGE
    if not low <= value <= high:
        raise SpecError(
            "size_out_of_range",
            f"The {name} must be from {low} to {high}, not {value}.",
            "Choose a value in that range.",
        )
    if value % SIZE_MULTIPLE:
        near = max(low, round(value / SIZE_MULTIPLE) * SIZE_MULTIPLE)
        raise SpecError(
            "size_not_multiple",
            f"The {name} must be a multiple of {SIZE_MULTIPLE}, and {value} is not.",
            f"Take {near}.",
        )
    return value
