"""Load a ControlNet: a diffusers folder, a single file with diffusers' names, or an original `control_model.…` file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights

from engine.errors import ModelFileError
from engine.families.keys import CONTROL_PREFIX, Rename, controlnet_name
from engine.library.control_files import control_facts
from engine.library.headers import read_header
from engine.loading.components import fill
from engine.loading.layouts import read_state
from engine.loading.loader import weights_file
from engine.loading.torchvision_guard import guard_torchvision
from engine.loading.weights import open_weights

PART = "ControlNet"
# Of a UNet's config these are a ControlNet's too: it is a copy of the UNet's down path.
_SHARED = (
    "in_channels", "flip_sin_to_cos", "freq_shift", "down_block_types", "mid_block_type", "only_cross_attention",
    "block_out_channels", "layers_per_block", "downsample_padding", "mid_block_scale_factor", "act_fn",
    "norm_num_groups", "norm_eps", "cross_attention_dim", "transformer_layers_per_block", "attention_head_dim",
    "num_attention_heads", "use_linear_projection", "class_embed_type", "addition_embed_type",
    "addition_time_embed_dim", "num_class_embeds", "upcast_attention", "resnet_time_scale_shift",
    "projection_class_embeddings_input_dim",
)  # fmt: skip


def load_controlnet(
    path: Path,
    unet_config: Mapping[str, Any],
    *,
    title: str,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    pooled: bool = False,
) -> torch.nn.Module:
    """diffusers' ControlNetModel (ControlNetUnionModel) with the weights of a file or folder; eval mode, no gradients.

    Args:
        unet_config: of the UNet that it is for: files without a config of their own have its shape.
        pooled: such a file's residuals are averaged over the picture (the "shuffle" ControlNet; no file says so).

    Raises:
        ModelFileError: the file is gone, damaged, unsafe, of other shapes, or lacks weights.
    """
    guard_torchvision()
    folder = path.is_dir()
    config = _own_config(path, title) if folder else _config_of(path, unet_config, pooled)
    module = _build(config, title)
    source = weights_file(path, dtype) if folder else path
    with open_weights(source) as weights:
        names = weights.names()
        prefix = CONTROL_PREFIX if any(name.startswith(CONTROL_PREFIX) for name in names) else ""

        def look(name: str) -> Iterator[Rename]:
            yield Rename(name)
            try:
                yield controlnet_name(name, config, prefix)
            except KeyError:
                return

        state = read_state(weights, module.state_dict(), look)
        fill(module, state, dtype, PART, title)
    return module.to(device)


def _config_of(path: Path, unet_config: Mapping[str, Any], pooled: bool) -> dict[str, Any]:
    shared = {name: unet_config[name] for name in _SHARED if unet_config.get(name) is not None}
    facts = control_facts(path)
    told = {**shared, "conditioning_embedding_out_channels": facts.hint_channels, "global_pool_conditions": pooled}
    return {**told, **_union_config(path)} if facts.union else told


def _union_config(path: Path) -> dict[str, Any]:
    """What a union ControlNet's shapes tell; the heads of its transformer are those of the published ones."""
    tensors = read_header(path).tensors
    types, width = tensors["task_embedding"].shape
    depth = sum(name.startswith("transformer_layes.") and name.endswith(".ln_1.weight") for name in tensors)
    return {
        "num_control_type": types, "num_trans_channel": width, "num_trans_head": 8, "num_trans_layer": depth,
        "num_proj_channel": tensors["spatial_ch_projs.weight"].shape[0],
        "addition_time_embed_dim": tensors["control_add_embedding.linear_1.weight"].shape[1] // types,
    }  # fmt: skip


def _own_config(folder: Path, title: str) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFileError(
            "model_parts_missing", f"{title} lacks a readable config.json.", "Fetch the folder again."
        ) from error
    if not isinstance(config, dict):
        raise ModelFileError("model_parts_missing", f"{title}: its config.json is damaged.", "Fetch the folder again.")
    return config


def _build(config: Mapping[str, Any], title: str) -> torch.nn.Module:
    from diffusers import ControlNetModel, ControlNetUnionModel

    unsupported = [
        name
        for name, allowed in (
            ("class_embed_type", (None,)),
            ("encoder_hid_dim_type", (None,)),
            ("addition_embed_type", (None, "text_time")),
            ("conditioning_channels", (None, 3)),
        )
        if config.get(name) not in allowed
    ]
    if unsupported:
        raise ModelFileError(
            "model_file_unsupported",
            f"{title} is of a variant that Easel cannot run: its {unsupported[0]} is {config[unsupported[0]]}.",
            "Take another ControlNet of that type.",
        )
    try:
        with init_empty_weights(include_buffers=False):
            kind = ControlNetUnionModel if config.get("num_control_type") else ControlNetModel
            module: torch.nn.Module = kind.from_config({**config, "_class_name": kind.__name__})
    except (TypeError, ValueError, KeyError, IndexError, ZeroDivisionError) as error:
        raise ModelFileError(
            "model_file_unsupported", f"The settings of {title} cannot be used: {error}.", ""
        ) from error
    return module.eval().requires_grad_(False)
