"""How a module's tensors are called in a file: kohya's keys, diffusers' and PEFT's, LyCORIS's.

Everything is kept under LyCORIS's suffixes ("lora_up.weight", "diff", "hada_w1_a", …) until it is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from engine.adapters.keys.table import original_name
from engine.adapters.modules import ModuleKey, Targets
from engine.errors import MergeError
from engine.protocol.merge import Layout

_TEXT_ROOT = "text_model."
_PEFT = {"lora_up.weight": "lora_B.weight", "lora_down.weight": "lora_A.weight"}


def file_tensors(layout: Layout, key: ModuleKey, tensors: Mapping[str, Tensor], targets: Targets) -> dict[str, Tensor]:
    """The file's key → tensor for one module.

    Raises:
        MergeError: `merge_layout_cannot`, the layout has no keys for this.
    """
    if layout != "diffusers":
        name = module_name(layout, key, targets)
        return {f"{name}.{suffix}": tensor for suffix, tensor in tensors.items()}
    strange = sorted(set(tensors) - set(_PEFT) - {"alpha"})
    if strange:
        raise MergeError(
            "merge_layout_cannot",
            f"diffusers' layout has no keys for “{strange[0]}” of “{key[1]}”.",
            "Take kohya's or LyCORIS' layout, or the target LoRA with a rank.",
        )
    # alpha is left out: it equals the rank, which is what diffusers takes where nothing is said.
    name = f"{key[0]}.{_published(key)}"
    return {f"{name}.{_PEFT[suffix]}": tensor for suffix, tensor in tensors.items() if suffix in _PEFT}


def module_name(layout: Layout, key: ModuleKey, targets: Targets) -> str:
    """A module in kohya's or LyCORIS' spelling: a prefix for the component, the path with underscores."""
    component, path = key
    if component == "unet":
        # kohya's SDXL files have the original blocks' names; every reader of SDXL files knows them.
        original = original_name(path, targets) if layout == "kohya" and targets.family == "sdxl" else None
        prefix = "lora_unet_" if layout == "kohya" else "lycoris_"
        return prefix + (original or path).replace(".", "_")
    number = "2" if component == "text_encoder_2" else "1" if targets.family == "sdxl" else ""
    prefix = f"{'lora' if layout == 'kohya' else 'lycoris'}_te{number}_"
    return prefix + _published(key).replace(".", "_")


def peft_metadata(ranks: Mapping[ModuleKey, int]) -> dict[str, Any]:
    """What diffusers keeps beside the tensors: each component's LoRA settings, with alpha = rank throughout."""
    found: dict[str, Any] = {}
    for component in dict.fromkeys(key[0] for key in ranks):
        here = {_published(key): rank for key, rank in ranks.items() if key[0] == component}
        counts = sorted(set(here.values()), key=lambda rank: (-list(here.values()).count(rank), rank))
        usual = counts[0]
        others = {path: rank for path, rank in here.items() if rank != usual}
        found |= {
            f"{component}.r": usual,
            f"{component}.lora_alpha": usual,
            f"{component}.rank_pattern": others,
            f"{component}.alpha_pattern": others,
            f"{component}.target_modules": list(here),
        }
    return found


def _published(key: ModuleKey) -> str:
    """The path in published files; some versions of transformers leave a level of the text encoder out."""
    component, path = key
    return path if component == "unet" or path.startswith((_TEXT_ROOT, "text_projection")) else _TEXT_ROOT + path
