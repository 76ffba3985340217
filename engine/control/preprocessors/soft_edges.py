"""Networks that find soft outlines: each gives soft edges, the same in few shades ("safe"), and scribbled lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from engine.control.preprocessors.base import AnnotatorFile, Pixels, Preprocessor, Values, aux_size


def soft_edges(
    name: str, safe: str, title: str, file: AnnotatorFile, load: Callable[[Sequence[Path]], Any]
) -> tuple[Preprocessor, Preprocessor, Preprocessor]:
    """Soft edges, safe soft edges and scribble of one network.

    Args:
        name, safe: ends of A1111's names, as "hed" and "hedsafe".
        load: makes controlnet-aux's detector of the file.
    """

    def row(key: str, words: str, kind: str, **options: bool) -> Preprocessor:
        return Preprocessor(key, words, (kind,), partial(_run, options), (), (file,), load, coarse=True)

    return (
        row(f"softedge_{name}", f"Soft edges ({title})", "softedge"),
        row(f"softedge_{safe}", f"Soft edges, few shades ({title} safe)", "softedge", safe=True),
        row(f"scribble_{name}", f"Scribble ({title})", "scribble", scribble=True),
    )


def _run(options: dict[str, bool], pixels: Pixels, values: Values, detector: Any) -> Pixels:
    size = aux_size(pixels)
    return np.asarray(
        detector(pixels, detect_resolution=size, image_resolution=size, output_type="np", **options), dtype=np.uint8
    )
