"""What a preprocessor is: its numbers, the files it needs, and a function from pixels to pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Values = Mapping[str, float]
ANNOTATORS = "lllyasviel/Annotators"


@dataclass(frozen=True)
class Parameter:
    """A number that a person may change. `step` is that of its slider; a switch goes from 0 to 1 in steps of 1."""

    name: str
    title: str
    low: float
    high: float
    default: float
    step: float = 1.0


@dataclass(frozen=True)
class AnnotatorFile:
    """A file of weights: `name` in `models/annotators/` or in the hub's repository `repo`."""

    name: str
    repo: str = ANNOTATORS


@dataclass(frozen=True)
class Preprocessor:
    """One way to make a hint.

    Attributes:
        id: stable; where A1111 has the same thing it is A1111's name for it.
        types: the ControlNet types (`engine.library.control_types`) that it makes hints for, best first.
        run: (RGB pixels uint8 (h, w, 3), values, what `load` returned) → uint8 (h', w', 3), or (h', w', 4) where alpha
            means something.
        load: from the files' paths, in the order of `files`, to a detector of controlnet-aux; None where there is none.
        coarse: it works in multiples of 64 px, as the networks of controlnet-aux do.
        unavailable: why it cannot run at all, in one sentence.
        version: part of the cache's signature; it grows when the result changes.
    """

    id: str
    title: str
    types: tuple[str, ...]
    run: Callable[[Pixels, Values, Any], Pixels]
    parameters: tuple[Parameter, ...] = ()
    files: tuple[AnnotatorFile, ...] = ()
    load: Callable[[Sequence[Path]], Any] | None = None
    names: tuple[str, ...] = ()
    coarse: bool = False
    unavailable: str = ""
    version: int = 1

    def values(self, given: Values) -> dict[str, float]:
        """Every parameter with a value."""
        return {each.name: float(given.get(each.name, each.default)) for each in self.parameters}


def grey(pixels: Pixels) -> Pixels:
    """One channel as three."""
    return np.repeat(pixels[:, :, None], 3, axis=2)


def aux_size(pixels: Pixels) -> int:
    """The resolution to tell controlnet-aux: it rounds both sides to multiples of 64 itself."""
    return max(64, min(pixels.shape[:2]))
