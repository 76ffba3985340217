"""Small real adapter files: safetensors as trainers write them, with their metadata."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file

# Two attention layers that the tiny SD 1.x UNet of the tests has, with the width of its text.
PLACES = (
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k",
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_v",
)


def write_lora(
    path: Path,
    *,
    width: int = 32,
    out: int = 32,
    rank: int = 2,
    seed: int = 0,
    metadata: dict[str, str] | None = None,
) -> Path:
    """A LoRA in kohya's spelling. `width`: of the text that the UNet reads (768 makes it one for SD 1.x)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = torch.Generator().manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}
    for place in PLACES:
        tensors[f"{place}.lora_down.weight"] = torch.randn(rank, width, generator=random) * 0.1
        tensors[f"{place}.lora_up.weight"] = torch.randn(out, rank, generator=random) * 0.1
        tensors[f"{place}.alpha"] = torch.tensor(float(rank))
    save_file(tensors, path, metadata=metadata)
    return path


def cover(colour: str = "red", size: tuple[int, int] = (64, 48)) -> str:
    """A picture as metadata holds it: base64 of a JPEG."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "JPEG")
    return base64.b64encode(buffer.getvalue()).decode()
