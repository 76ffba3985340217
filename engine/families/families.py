"""The model families that Easel draws with: their parts, defaults and shipped configs. Data, no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from engine.protocol.library import ModelDefaults

CONFIGS = Path(__file__).resolve().parent / "configs"
CLIP_TOKENIZER = CONFIGS / "clip_tokenizer"
_ONE_ENCODER = ("tokenizer", "text_encoder", "unet", "vae", "scheduler")
_TWO_ENCODERS = ("tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2", "unet", "vae", "scheduler")


@dataclass(frozen=True)
class Family:
    """One family of models.

    Attributes:
        id: "sd1", "sd2", "sdxl" ("unknown" only in entries that have a problem).
        parts: what a model consists of, in the order in which it is used.
        defaults: what a form starts with, every field set except the negative prompt.
        config_dir: a diffusers folder without weights: model_index.json and one folder a part. The tokenizer's word
            lists lie once, in `CLIP_TOKENIZER`.
        cross_attention_dim: width of the text that the full-size UNet reads; 0 where there is no such UNet.
    """

    id: str
    title: str
    parts: tuple[str, ...]
    latent_channels: int
    defaults: ModelDefaults
    config_dir: Path
    cross_attention_dim: int
    is_xl: bool = False

    def config(self, part: str) -> dict[str, Any]:
        """The shipped config of a part; of the whole model for "model_index"."""
        return read_config(self.config_dir, part)


FAMILIES: tuple[Family, ...] = (
    Family(
        id="sd1",
        title="Stable Diffusion 1.x",
        parts=_ONE_ENCODER,
        latent_channels=4,
        defaults=ModelDefaults(
            width=512, height=512, steps=25, guidance=7.0, sampler="dpmpp_2m", schedule="karras", clip_skip=1, upscale=1
        ),
        config_dir=CONFIGS / "sd1",
        cross_attention_dim=768,
    ),
    Family(
        id="sd2",
        title="Stable Diffusion 2.x",
        parts=_ONE_ENCODER,
        latent_channels=4,
        defaults=ModelDefaults(
            width=768, height=768, steps=25, guidance=7.0, sampler="dpmpp_2m", schedule="karras", clip_skip=1, upscale=1
        ),
        config_dir=CONFIGS / "sd2",
        cross_attention_dim=1024,
    ),
    Family(
        id="sdxl",
        title="Stable Diffusion XL",
        parts=_TWO_ENCODERS,
        latent_channels=4,
        defaults=ModelDefaults(
            width=1024,
            height=1024,
            steps=28,
            guidance=6.0,
            sampler="dpmpp_2m",
            schedule="karras",
            clip_skip=1,
            upscale=1,
        ),
        config_dir=CONFIGS / "sdxl",
        cross_attention_dim=2048,
        is_xl=True,
    ),
)
UNKNOWN = Family(
    id="unknown",
    title="Unknown",
    parts=(),
    latent_channels=4,
    defaults=ModelDefaults(),
    config_dir=CONFIGS,
    cross_attention_dim=0,
)


def family(family_id: str) -> Family:
    """The family of that id.

    Raises:
        KeyError: there is none; `UNKNOWN` stands for a file's unknown family.
    """
    for each in FAMILIES:
        if each.id == family_id:
            return each
    raise KeyError(family_id)


def config_file(folder: Path, part: str) -> Path:
    """Where a diffusers folder keeps the config of a part."""
    if part == "model_index":
        return folder / "model_index.json"
    if part == "scheduler":
        return folder / part / "scheduler_config.json"
    if part.startswith("tokenizer"):
        return folder / part / "tokenizer_config.json"
    return folder / part / "config.json"


def read_config(folder: Path, part: str) -> dict[str, Any]:
    """The config of a part in a diffusers folder.

    Raises:
        OSError: it cannot be read. ValueError: it is not a JSON object.
    """
    value = json.loads(config_file(folder, part).read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError(f"{part}: not a JSON object")
    return cast("dict[str, Any]", value)
