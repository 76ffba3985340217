"""Vector and bitmap pictures → square RGBA arrays."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
from PIL import Image

from training.errors import RecipeError

_ROOT_TAG = re.compile(r"<svg\b[^>]*>", re.DOTALL)
_SIZE = re.compile(r"\s(?:width|height)\s*=\s*(\"[^\"]*\"|'[^']*')")


def render_svg(text: str, size: int, name: str = "picture") -> np.ndarray:
    """An SVG document as (size, size, 4) uint8, straight alpha.

    resvg takes its canvas from the document, so width and height are rewritten; the viewBox must be there.
    Raises `RecipeError` when it cannot be drawn (resvg's panics are `BaseException`).
    """
    import resvg

    tag = _ROOT_TAG.search(text)
    if tag is None:
        raise RecipeError(f"{name} is not an SVG picture.")
    root = _SIZE.sub("", tag.group(0)).replace("<svg", f'<svg width="{size}" height="{size}"', 1)
    document = text[: tag.start()] + root + text[tag.end() :]
    try:
        tree = resvg.usvg.Tree.from_str(document, resvg.usvg.Options.default())
        picture = resvg.render(tree, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0))  # sx kx tx, ky sy ty
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:
        raise RecipeError(f"{name} cannot be drawn: {error}.") from error
    return _to_square(Image.open(io.BytesIO(bytes(picture))), size)


def read_bitmap(path: Path, size: int) -> np.ndarray:
    """A picture file as (size, size, 4) uint8, straight alpha. Raises `RecipeError` when it cannot be read."""
    try:
        with Image.open(path) as picture:
            return _to_square(picture, size)
    except (OSError, SyntaxError, ValueError) as error:
        raise RecipeError(f"The picture {path.name} cannot be read: {error}.", "Fetch the data again.") from error


def _to_square(picture: Image.Image, size: int) -> np.ndarray:
    picture = picture.convert("RGBA")
    if picture.size != (size, size):
        # premultiplied, else the hidden colour of clear pixels bleeds into the edges
        picture = picture.convert("RGBa").resize((size, size), Image.Resampling.LANCZOS).convert("RGBA")
    return np.asarray(picture, dtype=np.uint8)
