"""The key layouts that adapter files come in: kohya-ss and LyCORIS names, and diffusers' PEFT names."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from training.adapters.kinds import LoraChange
from training.adapters.targets import Patch
from training.errors import RecipeError


def to_tensors(patches: list[Patch], layout: str) -> dict[str, torch.Tensor]:
    """File key → float16 tensor. Raises `RecipeError` for a kind that the layout cannot say."""
    if layout == "peft":
        return _peft(patches)
    return {
        f"{patch.kohya_name}.{suffix}": _half(value)
        for patch in patches
        for suffix, value in patch.change.suffixes().items()
    }


def _peft(patches: list[Patch]) -> dict[str, torch.Tensor]:
    """`unet.PATH.lora_A.weight` (down) and `lora_B.weight` (up). There is no alpha, so the scale goes into B."""
    tensors = {}
    for patch in patches:
        if type(patch.change) is not LoraChange:
            raise RecipeError(f"The layout peft holds plain LoRA only, not {type(patch.change).__name__}.")
        parts = patch.change.suffixes()
        tensors[f"{patch.part}.{patch.path}.lora_A.weight"] = _half(parts["lora_down.weight"])
        tensors[f"{patch.part}.{patch.path}.lora_B.weight"] = _half(parts["lora_up.weight"] * patch.change.scale)
    return tensors


def check_finite(tensors: Mapping[str, torch.Tensor], name: str) -> None:
    """Raises `RecipeError` where float16 does not hold a value."""
    wrong = [key for key, value in tensors.items() if not torch.isfinite(value).all()]
    if wrong:
        raise RecipeError(f"{name} has values that are no numbers, first in {wrong[0]}.", "Lower its `rate`.")


def _half(value: torch.Tensor) -> torch.Tensor:
    return value.detach().to("cpu", torch.float16).contiguous().clone()
