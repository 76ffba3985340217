"""Adapters that make a model draw in few steps: told by names, by what trainers wrote, by hash, and by their build.

They have the shapes of any other adapter, so no single sign is sure. Names and words of the metadata say which sort it
is; the published files are known by their hashes whatever they are called; the set of layers that distillation scripts
train says only that it may be one ("few"), which is told and changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from engine.library.headers import TensorInfo

FEW = "few"
_SPEEDS = (
    ("lcm", r"(?<![a-z])lcm(?![a-z])"),
    ("tcd", r"(?<![a-z])tcd(?![a-z])"),
    ("dmd2", r"(?<![a-z])dmd2?(?![a-z0-9])"),
    ("lightning", r"lightning[ _-]*(?:lora|\d+[ _-]*steps?)|\d+[ _-]*steps?[ _-]*lightning|sdxl[ _-]*lightning"),
    ("hyper", r"hyper[ _-]*(?:sd|sdxl|lora|\d+[ _-]*steps?)|(?:sd15|sdxl|sd)[ _-]*hyper"),
    ("turbo", r"turbo[ _-]*(?:lora|\d+[ _-]*steps?)|(?:sd|sdxl|xl)[ _-]*turbo"),
)
# In prose a name alone says little ("works well with LCM"): the adapter has to be called one.
_IN_PROSE = r"{}[ _-]*lora|lora[ ,]+(?:version )?of {}|distill\w*[^.]{{0,60}}{}"
_NAMES = ("ss_output_name", "modelspec.title", "modelspec.hash_name")
_PROSE = ("modelspec.description", "modelspec.usage_hint", "ss_training_comment", "modelspec.tags")
_READ_PROSE = 4000
# SHA-256 of published files: the sort, and the steps that their names would tell.
_KNOWN = {
    "8f90d840e075ff588a58e22c6586e2ae9a6f7922996ee6649a7f01072333afe4": ("lcm", ""),
    "a764e6859b6e04047cd761c08ff0cee96413a8e004c9f07707530cd776b19141": ("lcm", ""),
    "bf56cf2657efb15e465d81402ed481d1e11c4677e4bcce1bc11fe71ad8506b79": ("lightning", "4 steps"),
}
# File names that say nothing: the hub's own, under which the folder has the name.
_NAMELESS = {"pytorch_lora_weights", "adapter_model", "adapter", "lora", "model", "diffusion_pytorch_model"}
_FOLDERS = 3
# Layers that the distillation scripts for SD 1.x and SDXL train: every projection and convolution of the UNet's blocks,
# no text encoder. Rank 64 is what LCM, TCD and Hyper-SD were published with.
_DISTILLED_MODULES, _DISTILLED_RANK = (278, 788), 64


def speed_of(metadata: Mapping[str, str], file_name: str) -> str:
    """The sort by names and words: "lcm", "tcd", "lightning", "hyper", "turbo", "dmd2", or ""."""
    names = " ".join((file_name, *(metadata.get(key, "") for key in _NAMES))).lower()
    for speed, pattern in _SPEEDS:
        if re.search(pattern, names):
            return speed
    prose = " ".join(metadata.get(key, "")[:_READ_PROSE] for key in _PROSE).lower()
    for speed, _ in _SPEEDS:
        word = rf"(?<![a-z]){'hyper(?:-?sd(?:xl)?)?' if speed == 'hyper' else speed}"
        if re.search(_IN_PROSE.format(word, word, word), prose):
            return speed
    return ""


def built_for_few_steps(
    tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str], modules: int, rank: int | None
) -> bool:
    """Whether it changes just the layers that distillation scripts train, and no trainer of styles has signed it."""
    if modules not in _DISTILLED_MODULES or rank != _DISTILLED_RANK:
        return False
    signed = any(key.startswith("ss_") for key in metadata)
    return not signed and not any(name.startswith(("lora_te", "text_encoder")) for name in tensors)


def known_file(path: Path, sha256: str) -> tuple[str, str]:
    """(the sort or "", a name that may tell the steps): by hash where it is known, else by the folders of a file whose
    own name says nothing."""
    if sha256 in _KNOWN:
        return _KNOWN[sha256]
    if path.stem.lower() not in _NAMELESS:
        return "", ""
    folders = " ".join(parent.name for parent in list(path.parents)[:_FOLDERS])
    return speed_of({}, folders), folders
