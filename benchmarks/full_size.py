"""Full-size checkpoints of random weights: memory and time do not depend on what the weights are.

Written in the layout and the 16-bit format in which model sites offer them, streamed to the disk.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

_BLOCK = 1 << 22
_SPREAD = 0.02
_WITH_WEIGHTS = ("unet", "vae", "text_encoder", "text_encoder_2")


def write_checkpoint(path: Path, family_id: str, *, seed: int = 0) -> Path:
    """A float16 single file of a family ("sd1": 2.1 GB, "sdxl": 6.9 GB) in the original layout."""
    shapes = checkpoint_shapes(family_id)
    header: dict[str, Any] = {}
    place = 0
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    # One block over and over: four billion random numbers would take minutes.
    block = (np.random.default_rng(seed).standard_normal(_BLOCK, np.float32) * _SPREAD).astype(np.float16)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        left = place // 2
        while left:
            file.write(block[: min(left, _BLOCK)].tobytes())
            left -= min(left, _BLOCK)
    return path


def checkpoint_shapes(family_id: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all weights of a family's checkpoint, as its files have them."""
    from engine.families.families import family
    from engine.loading.components import build

    found = family(family_id)
    shapes: dict[str, tuple[int, ...]] = {}
    for part in (part for part in found.parts if part in _WITH_WEIGHTS):
        config = found.config(part)
        for name, value in build(part, config, family_id).state_dict().items():
            place, shape = _place(family_id, part, name, config), tuple(value.shape)
            if place.form == "rows":
                shape = (shape[0] * 3, *shape[1:])
            elif place.form == "squeeze":
                shape = (*shape, 1, 1)
            elif place.form == "transpose":
                shape = shape[::-1]
            shapes[place.name] = shape
    return shapes


def _place(family_id: str, part: str, name: str, config: dict[str, Any]) -> Any:
    from engine.families import keys

    if part == "unet":
        return keys.unet_name(name, config)
    if part == "vae":
        return keys.vae_name(name, config)
    if part == "text_encoder_2":
        return keys.open_clip_name(name)
    return keys.clip_name(name, keys.XL_CLIP_PREFIX if family_id == "sdxl" else keys.CLIP_PREFIX)
