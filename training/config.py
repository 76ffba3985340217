"""The settings of one recipe, read from a TOML file of training/configs/."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.errors import RecipeError

HERE = Path(__file__).parent


@dataclass(frozen=True)
class DataConfig:
    """`size` px. `sets`: keys of `training.data.sets.SETS` to learn, with `weights` as shares of the samples.

    `plain_style`: the set that a caption without a style phrase means. Shares are of the samples:
    `coloured_background`, `recoloured`, `pairs` (two objects), `unknown_words`, `no_caption`.
    `only`: slugs of the concept list to learn; empty = all of them. `favourites` are drawn `favour` times as often.
    """

    concepts: str
    size: int
    sets: tuple[str, ...]
    weights: tuple[float, ...]
    plain_style: str
    backgrounds: tuple[str, ...]
    coloured_background: float
    recoloured: float
    pairs: float
    unknown_words: float
    no_caption: float
    only: tuple[str, ...] = ()
    favourites: tuple[str, ...] = ()
    favour: int = 1


@dataclass(frozen=True)
class AutoencoderConfig:
    """AutoencoderTiny of `width` channels with 4× (two stride) reduction. `noise`: sigma added to latents in training.

    `decoder_steps`: of the decoder alone afterwards, on the learnt pictures only; 0 leaves that out."""

    width: int
    encoder_blocks: tuple[int, ...]
    decoder_blocks: tuple[int, ...]
    latent_channels: int
    steps: int
    batch: int
    rate: float
    noise: float
    minutes: float | None = None
    decoder_steps: int = 0
    decoder_minutes: float | None = None


@dataclass(frozen=True)
class BaseConfig:
    """UNet and text encoder, and their training. `levels`: channels per level; attention on all but the first
    when `attention_at_full` is false. `workers`: threads that each take a part of the
    batch (CPU only); they meet once a step, where threads inside operators meet a thousand times."""

    levels: tuple[int, ...]
    layers: int
    attention_at_full: bool
    head_size: int
    norm_groups: int
    text_width: int
    text_layers: int
    steps: int
    batch: int
    rate: float
    warmup: int
    weight_decay: float
    ema: float
    low_noise_share: float
    workers: int = 1
    minutes: float | None = None
    checkpoint_minutes: float = 5.0


@dataclass(frozen=True)
class ModelConfig:
    """What the user sees: names, defaults and examples; they go into easel.toml and the model card."""

    name: str
    description: str
    steps: int
    guidance: float
    sampler: str
    scheduler: str
    examples: tuple[str, ...]
    grid: tuple[str, ...]


@dataclass(frozen=True)
class Recipe:
    """One whole recipe. `key` names its folder under the work folder; `seed` fixes every draw.

    `adapters`: a TOML file beside this one with what is trained on the frozen base (`training/adapters/config.py`).
    """

    key: str
    seed: int
    threads: int
    data: DataConfig
    autoencoder: AutoencoderConfig
    base: BaseConfig
    model: ModelConfig
    adapters: str = ""
    path: Path = field(default=HERE, compare=False)

    def concepts_path(self) -> Path:
        """The concept list: beside the TOML file, else in training/data/."""
        beside = self.path.parent / self.data.concepts
        return beside if beside.exists() else HERE / "data" / self.data.concepts


def read_recipe(path: Path) -> Recipe:
    """Raises `RecipeError` naming the first missing, unknown or ill-typed key."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"The recipe {path} cannot be read: {error.strerror}.") from error
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"The recipe {path.name} is not valid TOML: {error}.") from error
    sections = {
        name: fill(kind, table.pop(name, None), f"{path.name} [{name}]")
        for name, kind in (
            ("data", DataConfig), ("autoencoder", AutoencoderConfig), ("base", BaseConfig), ("model", ModelConfig),
        )
    }  # fmt: skip
    return fill(Recipe, {**table, **sections, "path": path.resolve()}, path.name)


def fill(kind: type, table: Any, where: str) -> Any:
    """The dataclass `kind` from a TOML table; lists become tuples. Raises `RecipeError` for a wrong key."""
    if not isinstance(table, dict):
        raise RecipeError(f"The section {where} is missing.")
    known = {item.name: item for item in dataclasses.fields(kind)}
    for key in table:
        if key not in known:
            raise RecipeError(f"{where} has an unknown key {key!r}.", f"Known keys: {', '.join(known)}.")
    for key, item in known.items():
        if key not in table and item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            raise RecipeError(f"{where} lacks the key {key!r}.")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in table.items()})
