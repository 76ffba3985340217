"""Tiny real union ControlNets and T2I-Adapters, in diffusers' folders and in the files that people have."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from engine.loading.torchvision_guard import guard_torchvision

UNION_TYPES = 6


def write_tiny_union(folder: Path, model_folder: Path, *, seed: int = 0, types: int = UNION_TYPES) -> Path:
    """Write a union ControlNet for the UNet of a tiny SDXL model; what its types add is as large as the hint."""
    guard_torchvision()
    from diffusers import ControlNetUnionModel

    unet = json.loads((model_folder / "unet" / "config.json").read_text())
    shared = (
        "in_channels", "down_block_types", "block_out_channels", "layers_per_block", "cross_attention_dim",
        "attention_head_dim", "use_linear_projection", "transformer_layers_per_block", "addition_embed_type",
        "addition_time_embed_dim", "projection_class_embeddings_input_dim",
    )  # fmt: skip
    width = unet["block_out_channels"][0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = ControlNetUnionModel(
            **{name: unet[name] for name in shared if name in unet},
            conditioning_embedding_out_channels=(4, 8, 16),
            num_control_type=types, num_trans_channel=width, num_trans_head=8, num_proj_channel=width,
        )  # fmt: skip
        for part in (
            model.controlnet_cond_embedding.conv_out, model.controlnet_down_blocks, model.controlnet_mid_block,
            model.spatial_ch_projs, model.control_add_embedding,
        ):  # fmt: skip
            for parameter in part.parameters():
                torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)
    return folder


def write_tiny_t2i(
    folder: Path,
    model_folder: Path,
    *,
    seed: int = 0,
    shape: str = "full_adapter",
    hint_channels: int = 3,
) -> Path:
    """Write a T2I-Adapter for the UNet of a tiny model, as diffusers keeps one."""
    guard_torchvision()
    from diffusers import T2IAdapter

    widths = json.loads((model_folder / "unet" / "config.json").read_text())["block_out_channels"]
    light = shape == "light_adapter"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        T2IAdapter(
            in_channels=hint_channels, channels=list(widths[:-1] if light else widths), adapter_type=shape,
            num_res_blocks=4 if light else 2, downscale_factor=8 if shape == "full_adapter_xl" else 4,
        ).save_pretrained(folder)  # fmt: skip
    return folder


def write_single_t2i(folder: Path, target: Path, *, original: bool = True) -> Path:
    """Write the weights of a T2I-Adapter's folder as one file, with the original names or diffusers' own."""
    config = json.loads((folder / "config.json").read_text())
    weights = load_file(next(folder.glob("*.safetensors")))
    if original:
        light = config["adapter_type"] == "light_adapter"
        weights = {_original(name, light, config["num_res_blocks"]): value for name, value in weights.items()}
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix == ".safetensors":
        save_file({name: value.contiguous() for name, value in weights.items()}, target)
    else:
        torch.save(weights, target)
    return target


def _original(name: str, light: bool, blocks: int) -> str:
    """As TencentARC's files name it: one list of blocks; light adapters have a list inside of each."""
    name = name.removeprefix("adapter.")
    if light:
        return name.replace("resnets", "body")
    found = re.match(r"body\.(\d+)\.(resnets\.(\d+)\.|in_conv\.)(.*)", name)
    if found is None:
        return name
    place = int(found[1]) * blocks + int(found[3] or 0)
    return f"body.{place}.{'' if found[3] else 'in_conv.'}{found[4]}"
