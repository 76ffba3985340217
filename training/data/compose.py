"""Put cut-out pictures on backgrounds, side by side, and turn their hue. All arrays (H, W, 4) or (H, W, 3) uint8."""

from __future__ import annotations

import numpy as np
from PIL import Image

BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "white": (255, 255, 255),
    "black": (24, 24, 28),
    "grey": (150, 152, 158),
    "red": (214, 60, 62),
    "orange": (245, 150, 60),
    "yellow": (250, 214, 84),
    "green": (92, 176, 96),
    "blue": (70, 130, 220),
    "light blue": (158, 212, 248),
    "purple": (134, 92, 200),
    "pink": (248, 168, 200),
}
"""Words for plain backgrounds and their sRGB values."""

HUES: dict[str, tuple[float, float]] = {
    "red": (0.99, 1.0),
    "orange": (0.075, 1.0),
    "yellow": (0.135, 1.0),
    "green": (0.36, 0.85),
    "blue": (0.59, 0.95),
    "purple": (0.75, 0.85),
    "pink": (0.92, 0.65),
}
"""Words for object colours: hue (turns, 0–1) and a factor on the saturation."""


def on_background(cutout: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """RGBA over a plain colour → RGB."""
    alpha = cutout[..., 3:].astype(np.float32) / 255.0
    mixed = cutout[..., :3].astype(np.float32) * alpha + np.asarray(colour, np.float32) * (1.0 - alpha)
    return (mixed + 0.5).clip(0, 255).astype(np.uint8)


def recolour(cutout: np.ndarray, colour: str) -> np.ndarray:
    """Turn the main hue of a cut-out to `colour`; greys, blacks, whites and small other-coloured details stay.

    The main hue is the saturation-weighted mode over 36 bins; pixels within 60° of it are turned.
    """
    hue_to, saturation_factor = HUES[colour]
    alpha = cutout[..., 3]
    hsv = np.asarray(Image.fromarray(cutout[..., :3], "RGB").convert("HSV")).astype(np.float32) / 255.0
    weight = hsv[..., 1] * hsv[..., 2] * (alpha / 255.0)
    bins = np.bincount((hsv[..., 0] * 36).astype(int).ravel() % 36, weight.ravel(), minlength=36)
    smooth = bins + np.roll(bins, 1) + np.roll(bins, -1)
    main = (int(smooth.argmax()) + 0.5) / 36
    apart = (hsv[..., 0] - main + 0.5) % 1.0 - 0.5
    turned = (np.abs(apart) < 1 / 6) & (hsv[..., 1] > 0.12)
    out = hsv.copy()
    out[..., 0] = np.where(turned, (hue_to + apart * 0.6) % 1.0, hsv[..., 0])
    out[..., 1] = np.where(turned, hsv[..., 1] * saturation_factor, hsv[..., 1])
    if colour in ("yellow", "orange", "pink"):  # these words mean light colours
        lift = 1.0 - 0.55 * (1.0 - hsv[..., 2])
        out[..., 2] = np.where(turned, lift, hsv[..., 2])
    rgb = np.asarray(Image.fromarray((out * 255 + 0.5).clip(0, 255).astype(np.uint8), "HSV").convert("RGB"))
    return np.concatenate([rgb, alpha[..., None]], -1)


def side_by_side(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Two cut-outs, each at 55 % of the size, on one clear canvas of the same size: the left one, the right one."""
    size = left.shape[0]
    small = max(1, round(size * 0.55))
    canvas = Image.new("RGBA", (size, size), (0, 0, 0, 0))
    top = (size - small) // 2
    for picture, x in ((left, 0), (right, size - small)):
        piece = Image.fromarray(picture, "RGBA").convert("RGBa").resize((small, small), Image.Resampling.LANCZOS)
        canvas.alpha_composite(piece.convert("RGBA"), (x, top))
    return np.asarray(canvas, dtype=np.uint8)
