"""Tiny IP-Adapters in the original format, and a tiny real CLIP image encoder for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file

from engine.loading.torchvision_guard import guard_torchvision

Variant = Literal["plain", "plus", "full"]
WIDTH, PROJECTED = 32, 24


def write_tiny_image_encoder(folder: Path, *, seed: int = 0) -> Path:
    """Write a CLIP image encoder of 32 px pictures, 16 patches."""
    guard_torchvision()
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=WIDTH, intermediate_size=48, projection_dim=PROJECTED, num_hidden_layers=3, num_attention_heads=2,
        image_size=32, patch_size=8,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        CLIPVisionModelWithProjection(config).save_pretrained(folder)
    return folder


def write_tiny_ip_adapter(
    file: Path, model_folder: Path, *, variant: Variant = "plain", seed: int = 0, **extra: torch.Tensor
) -> Path:
    """Write an IP-Adapter for a tiny model's UNet, with strong random weights."""
    guard_torchvision()
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(model_folder / "unet")
    text = unet.config.cross_attention_dim
    generator = torch.Generator().manual_seed(seed)

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) / shape[-1] ** 0.5

    state: dict[str, torch.Tensor] = {}
    places = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
    for number, place in enumerate(places):
        width = unet.get_submodule(place.removesuffix(".processor")).to_k.weight.shape[0]
        state[f"ip_adapter.{2 * number + 1}.to_k_ip.weight"] = some(width, text)
        state[f"ip_adapter.{2 * number + 1}.to_v_ip.weight"] = some(width, text)
    state |= {f"image_proj.{name}": value for name, value in _projection(variant, text, some).items()}
    state |= extra
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in state.items()}, file)
    return file


def _projection(variant: Variant, text: int, some: Any) -> dict[str, torch.Tensor]:
    if variant == "plain":
        return {
            "proj.weight": some(4 * text, PROJECTED), "proj.bias": some(4 * text),
            "norm.weight": torch.ones(text), "norm.bias": torch.zeros(text),
        }  # fmt: skip
    if variant == "full":
        return {
            "proj.0.weight": some(WIDTH, WIDTH), "proj.0.bias": some(WIDTH), "proj.2.weight": some(text, WIDTH),
            "proj.2.bias": some(text), "proj.3.weight": torch.ones(text), "proj.3.bias": torch.zeros(text),
        }  # fmt: skip
    inner = 64
    made = {
        "latents": some(1, 4, inner), "proj_in.weight": some(inner, WIDTH), "proj_in.bias": some(inner),
        "proj_out.weight": some(text, inner), "proj_out.bias": some(text),
        "norm_out.weight": torch.ones(text), "norm_out.bias": torch.zeros(text),
    }  # fmt: skip
    for layer in (f"layers.{number}." for number in range(4)):
        for name in ("0.norm1", "0.norm2", "1.0"):
            made |= {f"{layer}{name}.weight": torch.ones(inner), f"{layer}{name}.bias": torch.zeros(inner)}
        made |= {
            f"{layer}0.to_q.weight": some(64, inner), f"{layer}0.to_kv.weight": some(128, inner),
            f"{layer}0.to_out.weight": some(inner, 64), f"{layer}1.1.weight": some(4 * inner, inner),
            f"{layer}1.3.weight": some(inner, 4 * inner),
        }  # fmt: skip
    return made


def unet_config(model_folder: Path) -> dict[str, Any]:
    """The config of a tiny model's UNet."""
    config: dict[str, Any] = json.loads((model_folder / "unet" / "config.json").read_text())
    return config
