"""Adapter files with random weights, in kohya's and LyCORIS's keys, for the modules of a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from engine.adapters.modules import ModuleKey, TargetModule, Targets

PREFIXES = {"unet": "lora_unet_", "text_encoder": "lora_te_", "text_encoder_2": "lora_te2_"}
Make = Callable[[TargetModule, torch.Generator], dict[str, Tensor]]


def lora(target: TargetModule, generator: torch.Generator) -> dict[str, Tensor]:
    return {**_thin(target, generator), "alpha": torch.tensor(2.0)}


def tucker(target: TargetModule, generator: torch.Generator) -> dict[str, Tensor]:
    """LoCon with a core where there is a kernel, LoRA elsewhere."""
    if max(target.shape[2:], default=1) == 1:
        return lora(target, generator)
    ones = [1] * (len(target.shape) - 2)
    return {
        "lora_up.weight": _noise((target.shape[0], 4, *ones), generator, 0.2),
        "lora_mid.weight": _noise((4, 4, *target.shape[2:]), generator, 0.2),
        "lora_down.weight": _noise((4, target.shape[1], *ones), generator, 0.2),
    }


def with_bias(target: TargetModule, generator: torch.Generator) -> dict[str, Tensor]:
    return {**lora(target, generator), "diff_b": _noise(target.shape[:1], generator, 0.1)}


def dora(target: TargetModule, generator: torch.Generator) -> dict[str, Tensor]:
    length = torch.rand(target.shape[0], *[1] * (len(target.shape) - 1), generator=generator) + 0.5
    return {**lora(target, generator), "dora_scale": length}


def loha(target: TargetModule, generator: torch.Generator) -> dict[str, Tensor]:
    rows, columns = target.shape[0], _columns(target)
    shapes = {"hada_w1_a": (rows, 3), "hada_w1_b": (3, columns), "hada_w2_a": (rows, 3), "hada_w2_b": (3, columns)}
    return {name: _noise(shape, generator, 0.3) for name, shape in shapes.items()} | {"alpha": torch.tensor(3.0)}


def oft(target: TargetModule, generator: torch.Generator) -> dict[str, Tensor]:
    size = 4
    return {
        "oft_blocks": _noise((target.shape[0] // size, size, size), generator, 0.1),
        "alpha": torch.tensor(0.0),
    }


def full(target: TargetModule, generator: torch.Generator) -> dict[str, Tensor]:
    found = {"diff": _noise(target.shape, generator, 0.02)}
    return found | {"diff_b": _noise(target.shape[:1], generator, 0.1)}


KINDS: dict[str, Make] = {"lora": lora, "dora": dora, "loha": loha, "oft": oft, "full": full}


def write_adapter(
    path: Path,
    targets: Targets,
    make: Make = lora,
    *,
    seed: int = 0,
    components: tuple[str, ...] = ("unet",),
    choose: Callable[[ModuleKey], bool] = lambda key: True,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """A file of one kind for every linear layer and convolution of these components that `choose` wants."""
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    for key, target in targets.modules.items():
        if key[0] in components and target.kind in ("linear", "conv") and choose(key):
            name = PREFIXES[key[0]] + _published(key).replace(".", "_")
            for suffix, tensor in make(target, generator).items():
                tensors[f"{name}.{suffix}"] = tensor.to(dtype).contiguous()
    save_file(tensors, path)
    return path


def _published(key: ModuleKey) -> str:
    """The module's path in published files; some versions of transformers leave a level of the text encoder out."""
    component, path = key
    return path if component == "unet" or path.startswith("text_model.") else f"text_model.{path}"


def _thin(target: TargetModule, generator: torch.Generator) -> dict[str, Tensor]:
    ones = [1] * (len(target.shape) - 2)
    return {
        "lora_up.weight": _noise((target.shape[0], 4, *ones), generator, 0.2),
        "lora_down.weight": _noise((4, *target.shape[1:]), generator, 0.2),
    }


def _columns(target: TargetModule) -> int:
    count = 1
    for side in target.shape[1:]:
        count *= side
    return count


def _noise(shape: tuple[int, ...], generator: torch.Generator, spread: float) -> Tensor:
    return torch.randn(shape, generator=generator) * spread
