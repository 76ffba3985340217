"""Load an IP-Adapter: a safetensors file with the original names (`image_proj.…`, `ip_adapter.…`), for one UNet.

diffusers' own converters read it, on an empty UNet of the same config: the shared UNet of the studio is not touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights

from engine.errors import ModelFileError
from engine.library.ip_adapters import GROUPS
from engine.loading.torchvision_guard import guard_torchvision
from engine.loading.weights import open_weights


class IpAdapterModel(torch.nn.Module):
    """The weights of an IP-Adapter.

    Attributes:
        projection: from what the image encoder says to tokens of the text's width.
        whole: it reads every patch of the picture, not the one summary.
    """

    def __init__(self, projection: torch.nn.Module, layers: Mapping[str, torch.nn.Module], whole: bool) -> None:
        super().__init__()
        self.projection = projection
        self.whole = whole
        self._places = {place.removesuffix(".processor"): number for number, place in enumerate(layers)}
        self.layers = torch.nn.ModuleList(layers.values())

    def layer(self, place: str) -> torch.nn.Module:
        """The keys and values (`to_k_ip`, `to_v_ip`) of the cross-attention at that place of the UNet."""
        return self.layers[self._places[place]]


def load_ip_adapter(
    path: Path,
    unet_config: Mapping[str, Any],
    *,
    title: str,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> IpAdapterModel:
    """An IP-Adapter in eval mode and without gradients.

    Args:
        unet_config: of the UNet that it is for.

    Raises:
        ModelFileError: the file is gone, damaged, of other shapes, or lacks weights.
    """
    guard_torchvision()
    from diffusers import UNet2DConditionModel
    from diffusers.models.embeddings import ImageProjection

    with init_empty_weights(include_buffers=False):
        unet: Any = UNet2DConditionModel.from_config(dict(unet_config))
    state: dict[str, dict[str, torch.Tensor]] = {group: {} for group in GROUPS}
    with open_weights(path) as weights:
        for name in weights.names():
            group, _, rest = name.partition(".")
            if group in state:
                state[group][rest] = weights.get(name).to(dtype)
    try:
        made = unet._convert_ip_adapter_attn_to_diffusers([state], low_cpu_mem_usage=False)
        projection = unet._convert_ip_adapter_image_proj_to_diffusers(state["image_proj"], low_cpu_mem_usage=False)
    except (ValueError, KeyError, RuntimeError, IndexError) as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
        raise ModelFileError(
            "model_parts_missing", f"{title} does not fit this model: {why}.", "Take an IP-Adapter for this model."
        ) from error
    layers = {place: each for place, each in made.items() if isinstance(each, torch.nn.Module)}
    model = IpAdapterModel(projection, layers, whole=not isinstance(projection, ImageProjection))
    return model.to(device, dtype).eval().requires_grad_(False)
