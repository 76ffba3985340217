"""Pictures with an outline, for whatever looks for lines."""

from __future__ import annotations

import numpy as np
from PIL import Image


def drawing(width: int = 96, height: int = 80) -> Image.Image:
    """A red rectangle on white, left of and above the middle."""
    pixels = np.full((height, width, 3), 255, dtype=np.uint8)
    pixels[height // 4 : height // 2, width // 4 : width // 2] = (200, 30, 30)
    return Image.fromarray(pixels)
