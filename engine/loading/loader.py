"""Load one component of a model: from a diffusers folder or an original single file, offline, one at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from engine.errors import ModelFileError
from engine.families.families import config_file, read_config
from engine.library.entries import ModelEntry, VaeEntry
from engine.library.stamps import stamp_if_there
from engine.loading.components import build, fill
from engine.loading.layouts import candidates, read_state
from engine.loading.tokenizers import load_tokenizer
from engine.loading.weights import open_weights

PARTS = ("tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2", "unet", "vae", "scheduler")
_WEIGHT_NAMES = (
    "diffusion_pytorch_model.safetensors",
    "model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "model.safetensors.index.json",
    "diffusion_pytorch_model.fp16.safetensors",
    "model.fp16.safetensors",
)
_PICKLE_NAMES = ("diffusion_pytorch_model.bin", "pytorch_model.bin")


@dataclass(frozen=True)
class ComponentKey:
    """What a loaded component is, for the pool: equal keys are the same weights.

    source: the file or folder, with its size and time of change; vae: the same of a VAE in place of the model's own.
    """

    source: str
    part: str
    dtype: str
    vae: str = ""


def component_key(entry: ModelEntry, part: str, dtype: torch.dtype, vae: VaeEntry | None = None) -> ComponentKey:
    """The key of `load_component` with the same arguments."""
    replacing = ""
    if part == "vae" and vae is not None:
        replacing = f"{vae.path}|{vae.stamp}"
    elif part == "vae" and entry.vae_path is not None:
        replacing = f"{entry.vae_path}|{stamp_if_there(entry.vae_path)}"
    source = "" if replacing else f"{entry.path}|{entry.stamp}"
    return ComponentKey(source, part, str(dtype).removeprefix("torch."), replacing)


def load_component(
    entry: ModelEntry,
    part: str,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    vae: VaeEntry | None = None,
    channels_last: Callable[[torch.nn.Module], bool] = lambda module: False,
) -> Any:
    """Load one part of a model.

    Args:
        part: one of `entry.family.parts`.
        dtype: of the weights; a tokenizer and the scheduler's config have none.
        vae: for part "vae", the VAE to use instead of the entry's.
        channels_last: whether a module of that shape (its weights are on the meta device) is laid out so.

    Returns:
        A tokenizer, a module in eval mode without gradients, or for "scheduler" its config as a dict.

    Raises:
        ModelFileError: the file is gone, damaged, unsafe, of other shapes, or lacks weights.
    """
    if part not in PARTS:
        raise ValueError(f"there is no part {part!r}")
    if part == "scheduler":
        return dict(entry.config.get("scheduler") or entry.family.config("scheduler"))
    if part.startswith("tokenizer"):
        return load_tokenizer(entry, part)
    if part == "vae":
        path = vae.path if vae is not None else entry.vae_path
        if path is not None:
            return load_vae(path, entry, dtype=dtype, device=device)
    module, title = build(part, part_config(entry, part), entry.view.title), entry.view.title
    single = not entry.path.is_dir()
    source = entry.path if single else weights_file(entry.path / part, dtype)
    last = channels_last(module)
    return _load(module, source, part, module_config(module), single, dtype, title, channels_last=last).to(device)


def load_vae(
    path: Path, entry: ModelEntry, *, dtype: torch.dtype, device: torch.device | str = "cpu"
) -> torch.nn.Module:
    """A VAE of its own: a file in the original or in diffusers' layout, a VAE folder, or a model folder with a `vae/`.

    A file without a config beside it (`<stem>.config/vae/config.json`) takes the shape of the entry's VAE.
    """
    title = path.stem if path.is_file() else path.name
    folder = path / "vae" if (path / "vae" / "config.json").is_file() else path
    if path.is_dir():
        config = _json(folder / "config.json", title)
        source = weights_file(folder, dtype)
    else:
        sidecar = config_file(path.with_suffix(".config"), "vae")
        config = _json(sidecar, title) if sidecar.is_file() else part_config(entry, "vae")
        source = path
    module = build("vae", config, title)
    return _load(module, source, "vae", config, path.is_file(), dtype, title).to(device)


def part_config(entry: ModelEntry, part: str) -> dict[str, Any]:
    """The config of a part: from the entry, its config folder, or the family."""
    if part in entry.config:
        return dict(entry.config[part])
    folder = entry.config_dir or (entry.path if entry.path.is_dir() else None)
    if folder is not None and config_file(folder, part).is_file():
        return _json(config_file(folder, part), entry.view.title)
    if entry.path.is_dir():
        raise _part_missing(part, entry.view.title)
    return read_config(entry.family.config_dir, part)


def weights_file(folder: Path, dtype: torch.dtype) -> Path:
    """The weight file of a component's folder: safetensors before pickles, the fp16 variant where that is wanted.

    Raises:
        ModelFileError: `model_parts_missing`, there is none.
    """
    names = list(_WEIGHT_NAMES)
    if dtype in (torch.float16, torch.bfloat16):
        names.sort(key=lambda name: ".fp16." not in name)
    for name in (*names, *_PICKLE_NAMES):
        if (folder / name).is_file():
            return folder / name
    others = sorted(file for file in folder.glob("*.safetensors") if "non_ema" not in file.name)
    if others:
        return others[0]
    raise _part_missing(folder.name, folder.parent.name)


def nbytes(component: Any) -> int:
    """Bytes of a component's weights and buffers; 0 for tokenizers and configs."""
    if not isinstance(component, torch.nn.Module):
        return 0
    tensors = [*component.parameters(), *component.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def module_config(module: torch.nn.Module) -> dict[str, Any]:
    """A component's full config, with the values that its config.json left at their defaults."""
    config = module.config
    return dict(config.to_dict()) if hasattr(config, "to_dict") else dict(config)  # type: ignore[operator]


def _load(
    module: torch.nn.Module,
    source: Path,
    part: str,
    config: dict[str, Any],
    single: bool,
    dtype: torch.dtype,
    title: str,
    *,
    channels_last: bool = False,
) -> torch.nn.Module:
    look = candidates(part, config, single_file=single)
    with open_weights(source) as weights:
        state = read_state(weights, module.state_dict(), look)
        fill(module, state, dtype, part, title, channels_last=channels_last)
    return module


def _json(file: Path, title: str) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFileError(
            "model_parts_missing", f"{title} lacks a readable {file.parent.name}/{file.name}.", "Fetch the model again."
        ) from error
    if not isinstance(value, dict):
        raise ModelFileError("model_parts_missing", f"{title}: {file.parent.name}/{file.name} is damaged.", "")
    return value


def _part_missing(part: str, title: str) -> ModelFileError:
    return ModelFileError(
        "model_parts_missing", f"{title} has no {part} folder with weights.", "Fetch the model again."
    )
