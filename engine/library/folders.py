"""Diffusers folders told by their configs: whole models, and single components such as a VAE or a ControlNet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.errors import ModelFileError
from engine.library.headers import read_header
from engine.library.identity import Identity, common_dtype
from engine.library.t2i_adapters import t2i_facts_of_config
from engine.protocol.library import FileKind

_PIPELINES = {
    "StableDiffusionPipeline": "sd",
    "StableDiffusionImg2ImgPipeline": "sd",
    "LatentConsistencyModelPipeline": "sd",
    "StableDiffusionXLPipeline": "sdxl",
    "StableDiffusionXLImg2ImgPipeline": "sdxl",
}
_COMPONENTS: dict[str, FileKind] = {
    "AutoencoderKL": "vae",
    "AutoencoderTiny": "vae",
    "ControlNetModel": "controlnet",
    "ControlNetModel_Union": "controlnet",
    "ControlNetUnionModel": "controlnet",
    "T2IAdapter": "controlnet",
}


def is_model_folder(folder: Path) -> bool:
    """Whether the folder is one thing in itself, not a place with several."""
    return (folder / "model_index.json").is_file() or _component_class(folder) is not None


def identify_folder(folder: Path) -> Identity:
    """What a diffusers folder is.

    Raises:
        ModelFileError: its configs cannot be read, or a part is missing.
    """
    component = _component_class(folder)
    if component is not None and not (folder / "model_index.json").is_file():
        return _component(folder, component)
    index = _json(folder / "model_index.json", folder.name)
    pipeline = str(index.get("_class_name", ""))
    known = _PIPELINES.get(pipeline)
    if known is None:
        what = pipeline.removesuffix("Pipeline") or "model of an unknown kind"
        return Identity(
            kind="checkpoint",
            code="model_file_unsupported",
            problem=f"{folder.name} is a {what} model; Easel draws with SD 1.x, 2.x and SDXL.",
        )
    unet = _json(folder / "unet" / "config.json", folder.name)
    text = _json(folder / "text_encoder" / "config.json", folder.name)
    width = unet.get("cross_attention_dim")
    width = width if isinstance(width, int) else 0
    family = "sdxl" if known == "sdxl" else "sd2" if text.get("hidden_act") == "gelu" or width == 1024 else "sd1"
    scheduler = _scheduler(folder)
    wanted = ("text_encoder", "text_encoder_2", "unet", "vae") if family == "sdxl" else ("text_encoder", "unet", "vae")
    identity = Identity(
        kind="checkpoint",
        family=family,
        dtype=folder_dtype(folder / "unet"),
        prediction_type=str(scheduler.get("prediction_type", "epsilon")),
        zero_snr=bool(scheduler.get("rescale_betas_zero_snr", False)),
        parts=tuple(part for part in wanted if weight_files(folder / part)),
        text_width=width,
    )
    missing = [part for part in wanted if part not in identity.parts]
    if missing:
        problem = f"{folder.name} has no weights of its {missing[0]}: it was not fetched completely."
        return identity.model_copy(update={"problem": problem, "code": "model_parts_missing"})
    if unet.get("in_channels", 4) != 4:
        problem = f"{folder.name} is a model with {unet['in_channels']} input channels (inpainting), not usable yet."
        return identity.model_copy(update={"problem": problem, "code": "model_file_unsupported"})
    return identity


def weight_files(folder: Path) -> list[Path]:
    """The weight files of a component's folder, safetensors first."""
    if not folder.is_dir():
        return []
    files = [file for file in folder.iterdir() if file.suffix in {".safetensors", ".bin"} and file.is_file()]
    return sorted(files, key=lambda file: (file.suffix != ".safetensors", file.name))


def component_folders(folder: Path) -> list[Path]:
    """Where weights may lie in a diffusers folder: at its top (a single component), and in its parts."""
    return [folder, *sorted(child for child in folder.iterdir() if child.is_dir())]


def folder_size(folder: Path) -> int:
    """Bytes of the weights that loading the folder reads: one file a component, or all of its shards."""
    total = 0
    for part in component_folders(folder):
        files = weight_files(part)
        shards = [file for file in files if "-of-" in file.name]
        total += sum(file.stat().st_size for file in (shards or files[:1]))
    return total


def _component_class(folder: Path) -> str | None:
    file = folder / "config.json"
    if not file.is_file():
        return None
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    name = value.get("_class_name") if isinstance(value, dict) else None
    return name if isinstance(name, str) else None


def _component(folder: Path, name: str) -> Identity:
    kind = _COMPONENTS.get(name, "unknown")
    if kind == "unknown":
        return Identity(
            kind="unknown", problem=f"{folder.name} is a {name} alone, not a model.", code="model_file_unsupported"
        )
    config = _json(folder / "config.json", folder.name)
    channels = config.get("latent_channels", 4)
    identity = Identity(kind=kind, dtype=folder_dtype(folder), parts=(kind,))
    if kind == "vae" and channels != 4:
        problem = f"{folder.name} is a VAE with {channels} latent channels; Easel's families have 4."
        return identity.model_copy(update={"problem": problem, "code": "model_file_unsupported"})
    if kind == "controlnet":
        width = config.get("cross_attention_dim")
        if name == "T2IAdapter":
            return identity.model_copy(update={"family": t2i_facts_of_config(config).family})
        families = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
        return identity.model_copy(update={"family": families.get(width, "") if isinstance(width, int) else ""})
    return identity


def folder_dtype(folder: Path) -> str:
    """The number format that most weights of a component's folder have; "" where that is not told."""
    for file in weight_files(folder):
        if file.suffix == ".safetensors":
            return common_dtype(read_header(file).tensors.values())
    return ""


def _scheduler(folder: Path) -> dict[str, Any]:
    file = folder / "scheduler" / "scheduler_config.json"
    return _json(file, folder.name) if file.is_file() else {}


def _json(file: Path, title: str) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFileError(
            "model_parts_missing",
            f"{title} lacks a readable {file.parent.name}/{file.name}.",
            "Fetch the model folder again.",
        ) from error
    if not isinstance(value, dict):
        raise ModelFileError(
            "model_parts_missing", f"{title}: {file.name} is damaged.", "Fetch the model folder again."
        )
    return value
