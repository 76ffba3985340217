"""Preprocessors of extensions: a function from picture to picture as a row of the table, behind Easel's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from engine.control.preprocessors.base import Parameter, Pixels, Preprocessor, Values
from engine.errors import SpecError

# Runs an extension's own code: ("", "") where it went well, else a sentence and a place.
Guard = Callable[[Callable[[], Any]], tuple[str, str]]
Run = Callable[[Image.Image, Mapping[str, float]], Image.Image]


def added_preprocessor(
    name: str,
    run: Run,
    *,
    title: str,
    types: Sequence[str],
    options: Sequence[Parameter],
    version: int,
    guard: Guard,
) -> Preprocessor:
    """The row of an extension's preprocessor.

    Raises:
        SpecError: `extension_unusable`, its name or an option is no good.
    """
    if not name or name != name.strip().casefold() or not name.replace("_", "").replace("-", "").isalnum():
        raise _unusable(f"The preprocessor “{name[:60]}” needs a name of small letters, digits, hyphens, underscores.")
    for option in options:
        if not option.low <= option.default <= option.high or option.step <= 0:
            raise _unusable(f"The option {option.name} of {name} starts outside of its own range.")
    return Preprocessor(name, title or name, tuple(types), partial(_run, run, guard), tuple(options), version=version)


def _run(run: Run, guard: Guard, pixels: Pixels, values: Values, detector: Any) -> Pixels:
    made: list[Image.Image] = []
    reason, place = guard(lambda: made.append(run(Image.fromarray(pixels), dict(values))))
    if reason:
        raise ValueError(f"{reason.rstrip('.')} ({place})" if place else reason)
    if not isinstance(made[0], Image.Image):
        raise TypeError(f"it gave {type(made[0]).__name__}, not a picture")
    return np.asarray(made[0].convert("RGB"), dtype=np.uint8)


def _unusable(message: str) -> SpecError:
    return SpecError("extension_unusable", message, "Its author has to correct it.")
