"""Blocks of a model, and A1111's block weights: one number per block that an adapter's share is multiplied with.

Blocks are those of the original code: IN00…, M00, OUT00… of the UNet, and BASE for the text encoders and for what of
the UNet lies in no block (time and size embeddings, the last layer). The lists are those of "LoRA block weight".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from engine.adapters.keys.table import original_name
from engine.adapters.modules import ModuleKey, Targets
from engine.errors import AdapterError

BASE = "BASE"
_PLACE = re.compile(r"(input|middle|output)_blocks?\.(\d+)\.")
_SHORT = {"input": "IN", "output": "OUT"}


def _row(prefix: str, numbers: Sequence[int]) -> tuple[str, ...]:
    return tuple(f"{prefix}{number:02d}" for number in numbers)


_SD_SHORT = (BASE, *_row("IN", (1, 2, 4, 5, 7, 8)), "M00", *_row("OUT", range(3, 12)))
_SD_LONG = (BASE, *_row("IN", range(12)), "M00", *_row("OUT", range(12)))
_XL_SHORT = (BASE, *_row("IN", (4, 5, 7, 8)), "M00", *_row("OUT", range(6)))
_XL_LONG = (BASE, *_row("IN", range(9)), "M00", *_row("OUT", range(9)))
LAYOUTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "sd1": (_SD_SHORT, _SD_LONG),
    "sd2": (_SD_SHORT, _SD_LONG),
    "sdxl": (_XL_SHORT, _XL_LONG),
}


def block_of(key: ModuleKey, targets: Targets) -> str:
    """The block of a module: "IN04", "M00", "OUT11", or "BASE"."""
    component, path = key
    if component != "unet":
        return BASE
    found = _PLACE.match(original_name(path, targets) or "")
    if found is None:
        return BASE
    way, number = found[1], int(found[2])
    return "M00" if way == "middle" else f"{_SHORT[way]}{number:02d}"


def block_weights(blocks: Sequence[float], targets: Targets) -> Mapping[ModuleKey, float]:
    """What each module's share is multiplied with; modules of blocks that the list does not name are left out (1.0).

    Args:
        blocks: 17 or 26 numbers for SD 1.x and 2.x, 12 or 20 for SDXL; none for none.

    Raises:
        AdapterError: `adapter_blocks_unknown`.
    """
    if not blocks:
        return {}
    named = dict(zip(_layout(len(blocks), targets.family), blocks, strict=True))
    found = ((key, named.get(block_of(key, targets))) for key in targets.modules)
    return {key: weight for key, weight in found if weight is not None}


def _layout(length: int, family: str) -> tuple[str, ...]:
    layouts = LAYOUTS.get(family, ())
    for layout in layouts:
        if len(layout) == length:
            return layout
    known = " or ".join(str(len(layout)) for layout in layouts)
    raise AdapterError(
        "adapter_blocks_unknown",
        f"{length} block weights fit no layout of this model.",
        f"Send {known} of them, or none." if known else "This model takes no block weights: send none.",
    )


def block_order(name: str) -> tuple[int, int]:
    """Sorts blocks as they come in the model: BASE, IN, M, OUT."""
    for place, prefix in enumerate(("IN", "M", "OUT"), start=1):
        if name.startswith(prefix):
            return place, int(name.removeprefix(prefix))
    return 0, 0
