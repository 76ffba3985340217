"""The places of a model that an adapter can change: which modules there are, of what shape, under which names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

ModuleKey = tuple[str, str]
"""(component, dotted path as in `named_modules()`); component: "unet", "text_encoder", "text_encoder_2"."""

ModuleKind = Literal["linear", "conv", "norm", "embedding"]
COMPONENTS = ("unet", "text_encoder", "text_encoder_2")


@dataclass(frozen=True)
class TargetModule:
    """One module with a weight.

    Attributes:
        shape: of its weight, in PyTorch's order: (out, in) · (out, in/groups, *kernel) · (channels,) · (words, width).
        bias: whether it has one (of shape[0] numbers).
    """

    kind: ModuleKind
    shape: tuple[int, ...]
    bias: bool


@dataclass(frozen=True, eq=False)
class Targets:
    """What adapters are matched against: the modules of one model. One object equals itself alone, so that what follows
    from it can be kept.

    Attributes:
        modules: every module with a weight.
        unet_config: the UNet's config; the original (LDM) block names follow from it.
        family: "sd1", "sd2", "sdxl", or "" where nobody knows.
    """

    modules: Mapping[ModuleKey, TargetModule]
    unet_config: Mapping[str, Any] = field(default_factory=dict)
    family: str = ""


def targets_of(components: Mapping[str, nn.Module], *, family: str = "") -> Targets:
    """The places in a model's components, which may lie on the meta device: no weight is looked at.

    Args:
        components: "unet", "text_encoder", "text_encoder_2"; others (a VAE) are left out.
        family: the model's family; told by the UNet's config where it is "".
    """
    found: dict[ModuleKey, TargetModule] = {}
    for component in COMPONENTS:
        if (root := components.get(component)) is not None:
            for path, module in root.named_modules():
                if (target := _target(module)) is not None:
                    found[component, path] = target
    config = dict(getattr(components.get("unet"), "config", {}))
    return Targets(found, config, family or _family(config))


def _target(module: nn.Module) -> TargetModule | None:
    """Shapes come from the sizes a module was built with: a quantized weight is stored in another shape."""
    bias = getattr(module, "bias", None) is not None
    if isinstance(module, nn.Linear):
        return TargetModule("linear", (module.out_features, module.in_features), bias)
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return TargetModule(
            "conv", (module.out_channels, module.in_channels // module.groups, *module.kernel_size), bias
        )
    if isinstance(module, nn.Embedding):
        return TargetModule("embedding", (module.num_embeddings, module.embedding_dim), False)
    if isinstance(module, nn.GroupNorm | nn.LayerNorm) and module.weight is not None:
        return TargetModule("norm", tuple(module.weight.shape), bias)
    return None


def _family(config: Mapping[str, Any]) -> str:
    if config.get("addition_embed_type") == "text_time":
        return "sdxl"
    width = config.get("cross_attention_dim")
    return {768: "sd1", 1024: "sd2", 2048: "sdxl"}.get(width, "") if isinstance(width, int) else ""
