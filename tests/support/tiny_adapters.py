"""Small adapter files with visible random weights, for any model folder: kohya's spelling, one LoRA per module.

Equal arguments give equal bytes. The weights mean nothing; they are as strong as asked, so that pictures change.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from safetensors import safe_open
from safetensors.torch import save_file

# Folder of the model → kohya's prefix, and which of its weights get a LoRA.
PARTS = {
    "unet": ("lora_unet", (".to_q", ".to_k", ".to_v", ".to_out.0", ".ff.net.2")),
    "text_encoder": ("lora_te", (".q_proj", ".k_proj", ".v_proj", ".out_proj", ".fc1", ".fc2")),
}


def write_tiny_lora(
    target: Path,
    model_folder: Path,
    *,
    seed: int = 0,
    rank: int = 4,
    strength: float = 0.6,
    parts: Iterable[str] = ("unet", "text_encoder"),
    words: Mapping[str, int] | None = None,
    base: str = "sd_v1",
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a LoRA for the linear layers of a diffusers folder.

    Args:
        strength: standard deviation of ΔW over that of the weight it changes.
        words: training tags with how many pictures had them, as kohya's scripts write them.
        base: `ss_base_model_version`, the family that the file claims to be for.
    """
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}
    for part in parts:
        prefix, endings = PARTS[part]
        with safe_open(next((model_folder / part).glob("*.safetensors")), "pt") as weights:
            for name in sorted(weights.keys()):
                module = name.removesuffix(".weight")
                if module == name or not module.endswith(endings):
                    continue
                weight = weights.get_tensor(name).float()
                scale = (strength * float(weight.std()) / rank**0.5) ** 0.5
                key = f"{prefix}_{module.replace('.', '_')}"
                tensors[f"{key}.lora_up.weight"] = _noise((weight.shape[0], rank), scale, generator)
                tensors[f"{key}.lora_down.weight"] = _noise((rank, weight.shape[1]), scale, generator)
                tensors[f"{key}.alpha"] = torch.tensor(float(rank), dtype=torch.float16)
    told = {
        "ss_network_module": "networks.lora",
        "ss_base_model_version": base,
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(rank),
        "ss_output_name": target.stem,
        **({"ss_tag_frequency": json.dumps({"1_pictures": dict(words)})} if words else {}),
        **(metadata or {}),
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, target, metadata=told)
    return target


def write_preview(adapter: Path, colour: str, ground: str) -> Path:
    """Put a preview picture beside an adapter, as model managers do."""
    picture = Image.new("RGB", (256, 256), ground)
    ImageDraw.Draw(picture).ellipse((56, 56, 200, 200), fill=colour)
    target = adapter.with_suffix(".preview.png")
    picture.save(target)
    return target


def _noise(shape: tuple[int, int], scale: float, generator: torch.Generator) -> torch.Tensor:
    return (torch.randn(shape, generator=generator) * scale).to(torch.float16)
