"""Load the image encoder of IP-Adapters: a folder in transformers' layout (`config.json`, `model.safetensors`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from engine.errors import ModelFileError
from engine.loading.torchvision_guard import guard_torchvision


def load_image_encoder(folder: Path, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Any:
    """transformers' CLIPVisionModelWithProjection, in eval mode and without gradients; nothing is fetched.

    Raises:
        ModelFileError: `model_file_damaged`.
    """
    guard_torchvision()
    from transformers import CLIPVisionModelWithProjection

    try:
        model = CLIPVisionModelWithProjection.from_pretrained(
            folder, dtype=dtype, local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelFileError(
            "model_file_damaged",
            f"The image encoder in {folder.name} cannot be read.",
            "Fetch its folder again, with model.safetensors.",
        ) from error
    return model.to(device).eval().requires_grad_(False)
