"""JSON that a stranger wrote: bounded in size, depth and number length, and never an exception of another kind."""

from __future__ import annotations

import json
from typing import Any

from engine.errors import SpecError

MAX_TEXT = 8 * 2**20
MAX_DEPTH = 100


def load_json(text: str, what: str) -> Any:
    """Parse `text`; NaN and Infinity become None (ComfyUI writes NaN).

    Raises:
        SpecError: `image_unreadable` when the text is broken, larger than 8 MiB, or nested deeper than 100.
    """
    if len(text) > MAX_TEXT:
        raise unreadable(f"{what} is too large.")
    try:
        value = json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise unreadable(f"{what} is damaged.") from error
    if _depth_over(value, MAX_DEPTH):
        raise unreadable(f"{what} is nested too deeply.")
    return value


def load_object(text: str, what: str) -> dict[str, Any]:
    """As `load_json`, for a text that must hold an object."""
    value = load_json(text, what)
    if not isinstance(value, dict):
        raise unreadable(f"{what} is damaged.")
    return value


def unreadable(reason: str) -> SpecError:
    """The one error of this room for a picture or its settings that cannot be read."""
    return SpecError(
        "image_unreadable",
        f"The picture's settings could not be read: {reason}",
        "Use the original file: many web sites and messengers remove or change what is stored in a picture.",
    )


def _depth_over(value: Any, limit: int) -> bool:
    level: list[Any] = [value]
    for _ in range(limit):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(child for child in item.values() if isinstance(child, (dict, list)))
            elif isinstance(item, list):
                inner.extend(child for child in item if isinstance(child, (dict, list)))
        if not inner:
            return False
        level = inner
    return True
