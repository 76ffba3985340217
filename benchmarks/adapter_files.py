"""Adapter files with random weights for benchmarks: real layouts and sizes, no meaning."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

# What trainers change unless told otherwise: attention, feed-forward, and the projections around them.
_CHANGED = re.compile(r"attn\d\.to_(q|k|v|out\.0)$|ff\.net\.(0\.proj|2)$|proj_(in|out)$")


def write_peft_lora(path: Path, unet: nn.Module, *, rank: int, seed: int, dtype: torch.dtype = torch.float16) -> Path:
    """A LoRA in PEFT's keys, which diffusers and Easel both read."""
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    for name, module in _changed(unet):
        down, up = _thin(module, rank, generator)
        tensors[f"unet.{name}.lora_A.weight"] = down.to(dtype)
        tensors[f"unet.{name}.lora_B.weight"] = up.to(dtype)
    save_file(tensors, path)
    return path


def write_loha(path: Path, unet: nn.Module, *, rank: int, seed: int) -> Path:
    """A LoHa in LyCORIS's keys."""
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    for name, module in _changed(unet):
        key = f"lora_unet_{name.replace('.', '_')}"
        for pair in ("hada_w1", "hada_w2"):
            down, up = _thin(module, rank, generator)
            tensors[f"{key}.{pair}_a"] = up.flatten(1).half()
            tensors[f"{key}.{pair}_b"] = down.flatten(1).half()
        tensors[f"{key}.alpha"] = torch.tensor(float(rank))
    save_file(tensors, path)
    return path


def write_dora(path: Path, unet: nn.Module, *, rank: int, seed: int) -> Path:
    """A DoRA in kohya's keys."""
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    for name, module in _changed(unet):
        key = f"lora_unet_{name.replace('.', '_')}"
        down, up = _thin(module, rank, generator)
        weight = module.weight
        assert isinstance(weight, Tensor)
        length = weight.detach().float().flatten(1).norm(dim=1).reshape(-1, *[1] * (weight.dim() - 1))
        tensors |= {
            f"{key}.lora_down.weight": down.half(),
            f"{key}.lora_up.weight": up.half(),
            f"{key}.alpha": torch.tensor(float(rank)),
            f"{key}.dora_scale": (length * 1.05).half(),
        }
    save_file(tensors, path)
    return path


def _changed(unet: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, module in unet.named_modules():
        if _CHANGED.search(name) and isinstance(module, nn.Linear | nn.Conv2d):
            yield name, module


def _thin(module: nn.Module, rank: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    weight = module.weight
    assert isinstance(weight, Tensor)
    ones = [1] * (weight.dim() - 2)
    down = torch.randn(rank, *weight.shape[1:], generator=generator) * 0.05
    up = torch.randn(weight.shape[0], rank, *ones, generator=generator) * 0.05
    return down, up
