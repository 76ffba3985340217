"""Weights of a model changed by an adapter, the plain way: what the engine's own ways are compared with."""

from __future__ import annotations

from torch import nn

from engine.adapters.file import Adapter


def merge(adapter: Adapter, parts: dict[str, nn.Module], scale: float = 1.0) -> None:
    """Add the adapter's share to every weight and bias that it changes."""
    for (component, path), patch in adapter.patches.items():
        module = parts[component].get_submodule(path)
        delta, bias = patch.delta(module.weight, scale), module.bias
        change = patch.bias_delta(scale, bias)
        module.weight.data += delta
        if change is not None:
            module.bias = nn.Parameter(change if bias is None else bias + change, requires_grad=False)
