"""Load a T2I-Adapter: a diffusers folder, a single file with diffusers' names, or an original file (`body.…`)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights

from engine.errors import ModelFileError
from engine.families.keys import Rename
from engine.library.t2i_adapters import T2iFacts, t2i_facts, t2i_facts_of_config, t2i_name
from engine.loading.components import fill
from engine.loading.layouts import read_state
from engine.loading.loader import weights_file
from engine.loading.torchvision_guard import guard_torchvision
from engine.loading.weights import open_weights

PART = "T2I-Adapter"


def load_t2i_adapter(
    path: Path,
    unet_config: Mapping[str, Any],
    *,
    title: str,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> torch.nn.Module:
    """diffusers' T2IAdapter with the weights of a file or folder, in eval mode and without gradients.

    Args:
        unet_config: of the UNet whose features it is to change.

    Raises:
        ModelFileError: the file is gone, damaged, unsafe, made for another UNet, or lacks weights.
    """
    guard_torchvision()
    folder = path.is_dir()
    with open_weights(weights_file(path, dtype) if folder else path) as weights:
        shapes = {name: tuple(weights.get(name).shape) for name in weights.names()}
        facts = t2i_facts_of_config(_config(path, title)) if folder else t2i_facts(shapes)
        module = _build(facts, unet_config, title)

        def look(name: str) -> Iterator[Rename]:
            yield Rename(name)
            yield Rename(t2i_name(name, facts))

        fill(module, read_state(weights, module.state_dict(), look), dtype, PART, title)
    return module.to(device)


def _config(folder: Path, title: str) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return dict(config)
    except (OSError, ValueError, TypeError) as error:
        raise ModelFileError(
            "model_parts_missing", f"{title} lacks a readable config.json.", "Fetch the folder again."
        ) from error


def _build(facts: T2iFacts, unet_config: Mapping[str, Any], title: str) -> torch.nn.Module:
    from diffusers import T2IAdapter

    widths = tuple(unet_config.get("block_out_channels") or ())
    if not facts.channels or facts.widths[: len(widths)] != widths:
        made = " · ".join(str(width) for width in facts.widths) or "none that Easel knows"
        raise ModelFileError(
            "model_file_unsupported",
            f"{title} was made for another model: its features are {made} wide, the model's "
            f"{' · '.join(str(width) for width in widths)}.",
            "Take a T2I-Adapter for this model.",
        )
    with init_empty_weights(include_buffers=False):
        module: torch.nn.Module = T2IAdapter(**facts.config)
    return module.eval().requires_grad_(False)
