"""The shipped files as other tools read them: diffusers loads the model, ControlNets, PEFT files and embeddings;
LyCORIS's own code works out what kohya and LyCORIS files change. So the measurements also prove the files."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from training.errors import RecipeError

Deltas = dict[tuple[str, str], torch.Tensor]
"""(part, module path) → change of its weight at strength 1. LyCORIS 4.1.3 merges LoHa and LoKr with the square of
alpha/rank (its forward is right), so those two are right here for alpha = rank only, as the recipe has them."""


def deltas_of(file: Path, pipeline: Any) -> Deltas:
    """What an adapter file changes in `pipeline`, which stays as it is. Raises `RecipeError` where a key is unused."""
    tensors = {key: value.float() for key, value in load_file(file).items()}
    if any(key.startswith(("unet.", "text_encoder.")) for key in tensors):
        return _by_diffusers(file, pipeline)
    return _by_lycoris(tensors, pipeline, file.name)


def _by_lycoris(tensors: dict[str, torch.Tensor], pipeline: Any, name: str) -> Deltas:
    from lycoris.modules import get_module, make_module

    known: dict[str, tuple[str, str, nn.Module]] = {}
    for part, prefix in (("unet", "lora_unet"), ("text_encoder", "lora_te")):
        for path, module in getattr(pipeline, part).named_modules():
            spoken = path if part == "unet" or path.startswith("text_model.") else f"text_model.{path}"
            known[f"{prefix}_{spoken.replace('.', '_')}"] = (part, path, module)
    found: Deltas = {}
    for layer in dict.fromkeys(key.partition(".")[0] for key in tensors):
        if layer not in known:
            raise RecipeError(f"{name} patches {layer}, which the model does not have.")
        part, path, module = known[layer]
        twin = copy.deepcopy(module)
        kind, values = get_module(tensors, layer)
        made = make_module(kind, values, layer, twin) if kind is not None else None
        if made is None:
            raise RecipeError(f"LyCORIS does not know the kind of {layer} in {name}.")
        before = _weight(twin).clone()
        made.merge_to(1.0)
        found[(part, path)] = _weight(twin) - before
    return found


def _by_diffusers(file: Path, pipeline: Any) -> Deltas:
    before = {path: module.weight.detach().clone() for path, module in _layers(pipeline.unet)}
    pipeline.load_lora_weights(str(file.parent), weight_name=file.name, adapter_name="measured")
    pipeline.fuse_lora(adapter_names=["measured"])
    pipeline.unload_lora_weights()
    found: Deltas = {}
    for path, module in _layers(pipeline.unet):
        change = module.weight.detach() - before[path]
        if bool((change != 0).any()):
            found[("unet", path)] = change
        module.weight.data.copy_(before[path])
    if not found:
        raise RecipeError(f"diffusers found nothing in {file.name} that fits the model.")
    return found


def _weight(module: nn.Module) -> torch.Tensor:
    weight = module.weight
    assert isinstance(weight, torch.Tensor)
    return weight.detach()


def _layers(network: Any) -> list[tuple[str, Any]]:
    return [(path, each) for path, each in network.named_modules() if isinstance(each, nn.Linear | nn.Conv2d)]


class Patched:
    """`with Patched(pipeline, [(deltas, strength), …]):` — inside, the pipeline draws with the sum of them."""

    def __init__(self, pipeline: Any, stack: list[tuple[Deltas, float]]) -> None:
        self.pipeline, self.stack = pipeline, stack
        self._kept: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __enter__(self) -> None:
        for deltas, strength in self.stack:
            for (part, path), delta in deltas.items():
                weight = getattr(self.pipeline, part).get_submodule(path).weight.data
                self._kept.append((weight, weight.clone()))
                weight.add_(delta, alpha=strength)

    def __exit__(self, *_: object) -> None:
        for weight, before in reversed(self._kept):
            weight.copy_(before)
        self._kept.clear()
