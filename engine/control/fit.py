"""Fit: pictures brought to a preprocessor, and hints brought to the size of the result. Sizes are (width, height)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from engine.control.preprocessors.base import Pixels
from engine.errors import ControlError
from engine.protocol.specs import ResizeMode

Size = tuple[int, int]
SMALLEST_SIDE = 8
LONGEST_TO_SHORTEST = 20
# Hints with at most so many colours (maps of regions, scribbles) keep exactly those when they are enlarged.
FEW_COLOURS = 32
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def pixels_of(image: Image.Image, *, ground: tuple[int, int, int] | None) -> Pixels:
    """RGB of a picture, uint8 (h, w, 3), its transparent parts on `ground`; with None RGBA, uint8 (h, w, 4).

    Raises:
        ControlError: `control_image_unusable`, it is too small or too long.
    """
    width, height = image.size
    if min(width, height) < SMALLEST_SIDE:
        raise ControlError(
            "control_image_unusable",
            f"The unit's picture has only {width} × {height} pixels.",
            f"Take one with at least {SMALLEST_SIDE} pixels a side.",
        )
    if max(width, height) > LONGEST_TO_SHORTEST * min(width, height):
        raise ControlError(
            "control_image_unusable",
            f"The unit's picture, {width} × {height} pixels, is more than {LONGEST_TO_SHORTEST} times as long as wide.",
            "Cut a piece out of it.",
        )
    if ground is None:
        return np.asarray(image.convert("RGBA"), dtype=np.uint8)
    if image.mode == "RGBA":
        below = Image.new("RGBA", image.size, (*ground, 255))
        image = Image.alpha_composite(below, image)
    return np.asarray(image.convert("RGB"), dtype=np.uint8)


def pixel_perfect(picture: Size, result: Size, mode: ResizeMode) -> int:
    """The shorter side that a picture needs so that its hint has the result's own pixels (A1111's "pixel perfect")."""
    across, down = result[0] / picture[0], result[1] / picture[1]
    return max(1, round((min if mode == "fill" else max)(across, down) * min(picture)))


def at_resolution(pixels: Pixels, resolution: int) -> Pixels:
    """The picture with a shorter side of `resolution` px."""
    height, width = pixels.shape[:2]
    scale = resolution / min(width, height)
    return resized(pixels, (max(1, round(width * scale)), max(1, round(height * scale))))


def resized(pixels: Pixels, size: Size) -> Pixels:
    """Of another size and shape: areas averaged when smaller, Lanczos when larger; few colours stay those colours."""
    import cv2

    height, width = pixels.shape[:2]
    if (width, height) == size:
        return pixels
    if size[0] * size[1] < width * height:
        way = cv2.INTER_AREA
    else:
        way = cv2.INTER_NEAREST if _has_few_colours(pixels) else cv2.INTER_LANCZOS4
    result: Pixels = cv2.resize(pixels, size, interpolation=way)
    return result


def fitted(hint: Pixels, size: Size, mode: ResizeMode) -> Pixels:
    """The hint in the result's size: distorted ("stretch"), cut ("crop"), or its border's colour around it ("fill")."""
    height, width = hint.shape[:2]
    if (width, height) == size or mode == "stretch":
        return resized(hint, size)
    scale = (max if mode == "crop" else min)(size[0] / width, size[1] / height)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    scaled = resized(hint, inner)
    if mode == "crop":
        left, top = (inner[0] - size[0]) // 2, (inner[1] - size[1]) // 2
        return scaled[top : top + size[1], left : left + size[0]]
    result = np.empty((size[1], size[0], hint.shape[2]), dtype=np.uint8)
    result[:] = _border(scaled)
    left, top = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    result[top : top + inner[1], left : left + inner[0]] = scaled
    return result


def as_tensor(hint: Pixels) -> torch.Tensor:
    """What a ControlNet reads: 0.0–1.0, float32, shape (1, 3, h, w). Where RGBA is half transparent or more, −1.0: that
    is how the inpainting ControlNet is told what to draw anew."""
    values = torch.from_numpy(hint[..., :3].astype(np.float32)) / 255.0
    if hint.shape[2] == 4:
        values[torch.from_numpy(hint[..., 3] < 128)] = -1.0
    return values.permute(2, 0, 1)[None].contiguous()


def _has_few_colours(pixels: Pixels) -> bool:
    flat = pixels.reshape(-1, pixels.shape[2])
    packed: NDArray[Any] = flat[:, 0].astype(np.uint32)
    for channel in range(1, pixels.shape[2]):
        packed = packed * 256 + flat[:, channel]
    return len(np.unique(packed)) <= FEW_COLOURS


def _border(pixels: Pixels) -> NDArray[np.uint8]:
    edges = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return np.asarray(np.median(edges, axis=0), dtype=np.uint8)
