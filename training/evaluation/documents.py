"""Pictures for the documentation: few colours, small files, written atomically."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from training.errors import RecipeError
from training.files import write_atomically

LIMIT = 400_000
"""Bytes a picture in docs/ may have."""


def save_png(path: Path, picture: Image.Image) -> None:
    """As a palette PNG, with fewer colours until it is below `LIMIT`. Raises `RecipeError` where even 32 are not."""
    for colours in (256, 128, 64, 32):
        few = picture.convert("RGB").quantize(colours, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        write_atomically(path, lambda target, few=few: few.save(target, "PNG", optimize=True))  # type: ignore[misc]
        path.chmod(0o644)
        if path.stat().st_size <= LIMIT:
            return
    path.unlink()
    raise RecipeError(f"{path.name} is larger than {LIMIT // 1000} kB even in few colours.", "Show less in it.")
