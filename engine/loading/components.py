"""Components built without weights, filled with all of a file's weights, and refused when one is missing."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from accelerate import init_empty_weights

from engine.errors import ModelFileError
from engine.loading.torchvision_guard import guard_torchvision
from engine.platform import MappedFiles

_CONVOLUTION = 4
_DIFFUSERS = ("UNet2DConditionModel", "AutoencoderKL", "AutoencoderTiny")


def build(part: str, config: Mapping[str, Any], source: str) -> torch.nn.Module:
    """The component of `part` with every parameter on the meta device (no memory, no random numbers).

    Args:
        config: the component's config as in its config.json.
        source: the model's name for the sentence of an error.

    Raises:
        ModelFileError: `model_file_unsupported`, the config names a class or shape that cannot be built.
    """
    with init_empty_weights(include_buffers=False):
        return _build(part, config, source)


def outline(part: str, config: Mapping[str, Any], source: str) -> torch.nn.Module:
    """As `build`, only to be looked at: buffers are empty too. Any thread may call it while others build modules.

    `build` changes how every thread registers parameters while it lasts; this stays within its own.
    """
    with torch.device("meta"):
        return _build(part, config, source)


def _build(part: str, config: Mapping[str, Any], source: str) -> torch.nn.Module:
    guard_torchvision()
    try:
        module = _text_encoder(part, config) if part.startswith("text_encoder") else _diffusers(part, config)
    except (TypeError, ValueError, KeyError, IndexError, ZeroDivisionError) as error:
        raise ModelFileError(
            "model_file_unsupported", f"The settings of the {words(part)} of {source} cannot be used: {error}.", ""
        ) from error
    module.eval()
    return module.requires_grad_(False)


def fill(
    module: torch.nn.Module,
    state: dict[str, torch.Tensor],
    dtype: torch.dtype,
    part: str,
    source: str,
    *,
    channels_last: bool = False,
) -> None:
    """Put the weights in, in `dtype`; weights that are stored in it already stay memory-mapped. Of the others the pages
    of their file go as soon as they are read, so that loading takes no more than what is loaded. With `channels_last`
    convolutions are laid out so at once: turning them later would leave as many holes in the heap.

    Raises:
        ModelFileError: `model_parts_missing` (a weight is not there), `model_file_unsupported` (a shape differs).
    """
    wanted = module.state_dict()
    missing = [name for name in wanted if name not in state]
    if missing:
        raise ModelFileError(
            "model_parts_missing",
            f"{source} lacks {len(missing)} of the {len(wanted)} weights of its {words(part)}, “{missing[0]}” first.",
            "The file is not complete: fetch it again, or choose another model.",
        )
    files = MappedFiles()
    for name, weight in state.items():
        if weight.shape != wanted[name].shape:
            raise ModelFileError(
                "model_file_unsupported",
                f"The {words(part)} of {source} has another shape than its family: “{name}” is "
                f"{_times(weight)} instead of {_times(wanted[name])}.",
                "Easel cannot draw with this variant.",
            )
        layout = torch.channels_last if channels_last and weight.ndim == _CONVOLUTION else torch.preserve_format
        state[name] = weight.to(dtype, memory_format=layout) if weight.is_floating_point() else weight
        if state[name] is not weight:
            files.forget(weight.data_ptr(), weight.nbytes)
    module.load_state_dict(state, strict=True, assign=True)
    module.requires_grad_(False)


def words(part: str) -> str:
    """A part's name for a sentence."""
    names = {"unet": "UNet", "vae": "VAE", "text_encoder": "text encoder", "text_encoder_2": "second text encoder"}
    return names.get(part, part)


def _text_encoder(part: str, config: Mapping[str, Any]) -> torch.nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    architecture = (config.get("architectures") or [""])[0]
    projects = architecture == "CLIPTextModelWithProjection" or (not architecture and part == "text_encoder_2")
    module: torch.nn.Module = (CLIPTextModelWithProjection if projects else CLIPTextModel)(CLIPTextConfig(**config))
    return module


def _diffusers(part: str, config: Mapping[str, Any]) -> torch.nn.Module:
    from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel

    name = config.get("_class_name", "UNet2DConditionModel" if part == "unet" else "AutoencoderKL")
    if name not in _DIFFUSERS:
        raise ValueError(f"there is no way to draw with a {name} yet")
    classes = {
        "UNet2DConditionModel": UNet2DConditionModel,
        "AutoencoderKL": AutoencoderKL,
        "AutoencoderTiny": AutoencoderTiny,
    }
    chosen = classes[name]
    taken = inspect.signature(chosen.__init__).parameters
    known = {key: value for key, value in config.items() if key in taken}
    built: Any = chosen.from_config({**known, "_class_name": name})
    # What the class does not take is told by the file for others (the starter's VAE names its scale for pipelines).
    built.register_to_config(**{key: value for key, value in config.items() if key not in taken and key[0] != "_"})
    module: torch.nn.Module = built
    return module


def _times(tensor: torch.Tensor) -> str:
    return "×".join(str(side) for side in tensor.shape) or "a number"
