"""Which layers an adapter patches, and what files call them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from training.adapters.config import LoraConfig
from training.adapters.kinds import Change, build_change
from training.errors import RecipeError


@dataclass(frozen=True)
class Patch:
    """One patched layer. `part`: "unet" or "text_encoder"; `path`: dotted, with `text_model.` for the text encoder."""

    part: str
    path: str
    layer: nn.Module
    change: Change

    @property
    def kohya_name(self) -> str:
        prefix = "lora_unet" if self.part == "unet" else "lora_te"
        return f"{prefix}_{self.path.replace('.', '_')}"


def find_layers(config: LoraConfig, unet: Any, text: Any) -> list[tuple[str, str, nn.Module]]:
    """(part, path, layer): every linear layer and 1×1 convolution of the attention blocks; with `convolutions` also
    those of the rest of the UNet but its first and last; with `text` the text encoder's linear layers."""
    found: list[tuple[str, str, nn.Module]] = []
    for path, layer in unet.named_modules():
        if not isinstance(layer, nn.Linear | nn.Conv2d):
            continue
        attention = "attentions" in path
        inside = ("down_blocks", "mid_block", "up_blocks")
        if attention or (config.convolutions and isinstance(layer, nn.Conv2d) and path.startswith(inside)):
            found.append(("unet", path, layer))
    if config.text:
        for path, layer in text.named_modules():
            if isinstance(layer, nn.Linear):
                found.append(("text_encoder", path if path.startswith("text_model.") else f"text_model.{path}", layer))
    return found


def attach(config: LoraConfig, unet: Any, text: Any) -> list[Patch]:
    """Patch the layers; all of the networks' own weights stay frozen. Raises `RecipeError` where none fits."""
    patches = []
    for part, path, layer in find_layers(config, unet, text):
        assert isinstance(layer.weight, torch.Tensor)
        layer.weight.requires_grad_(False)
        change = build_change(config, layer.weight)
        parametrize.register_parametrization(layer, "weight", change, unsafe=True)
        patches.append(Patch(part, path, layer, change))
    if not patches:
        raise RecipeError(f"{config.name} patches no layer of this model.")
    return patches


def set_strength(patches: list[Patch], strength: float) -> None:
    """0 is the bare base, 1 the adapter as trained."""
    for patch in patches:
        patch.change.strength = strength


def detach(patches: list[Patch]) -> None:
    """Take the changes off again; the weights are exactly as before."""
    for patch in patches:
        parametrize.remove_parametrizations(patch.layer, "weight", leave_parametrized=False)
