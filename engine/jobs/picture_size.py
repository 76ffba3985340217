"""The size that a picture may have, as every way in checks it."""

from __future__ import annotations

from engine.errors import SpecError
from engine.protocol.notices import Notice
from engine.protocol.specs import SIZE_MULTIPLE, SIZE_RANGE

# Of the area that a model is made for, less and more than that is told.
SMALLEST_SHARE, LARGEST_SHARE = 1 / 3, 2.5


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


def size_advice(size: tuple[int, int], made_for: tuple[int, int]) -> Notice | None:
    """What to tell of a picture of `size` px with a model that learnt from pictures of about `made_for` px: far larger
    ones repeat themselves or fall apart, far smaller ones are blurs. None where the area is near enough."""
    share = size[0] * size[1] / (made_for[0] * made_for[1])
    if SMALLEST_SHARE <= share <= LARGEST_SHARE:
        return None
    low, high = SIZE_RANGE
    fitting = (min(high, max(low, round(side / share**0.5 / SIZE_MULTIPLE) * SIZE_MULTIPLE)) for side in size)
    better = " × ".join(str(side) for side in fitting)
    much = "larger" if share > 1 else "smaller"
    becomes = "repeat itself or become a mere pattern" if share > 1 else "become a blur"
    after = ", and enlarge the picture afterwards" if share > 1 else ""
    return Notice(
        code="size_advice",
        message=f"{size[0]} × {size[1]} px is far {much} than the {made_for[0]} × {made_for[1]} px that this model is "
        f"made for, so the picture may {becomes}. Choose {better}{after}.",
        level="warning",
    )
