"""config.toml as types.

Unknown keys are errors that name the nearest known key; values are checked when the file is read, before anything
starts. The comments in config.toml and docs/configuration.md are kept in step with this module by a test.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine.config_file import config_refusal, read_config
from engine.errors import ConfigError
from engine.protocol.library import ModelDefaults
from engine.protocol.wrong_values import why

ROOT = Path(__file__).resolve().parent.parent


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class UiSettings(_Section):
    """[ui]: the web page."""

    port: int = Field(default=7860, ge=1, le=65535, description="Port of the studio.")
    host: str = Field(default="127.0.0.1", description="Address to listen on; --listen makes it 0.0.0.0.")
    hosts: tuple[str, ...] = Field(default=(), description="Further host names under which the studio may be opened.")
    password: str = Field(default="", description="Password for --listen; empty: one is made and printed.")
    open_browser: bool = Field(default=True, description="Open the page when the studio is ready.")
    theme: Literal["auto", "light", "dark"] = Field(default="auto", description="Colours of the page.")


class EngineSettings(_Section):
    """[engine]: how pictures are made."""

    default_model: str = Field(default="starter", description="Model used when a request names none.")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(default="auto", description="Where models compute.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="Number format; auto is float32 on a CPU, bfloat16 or float16 on a GPU."
    )
    threads: int = Field(default=0, ge=0, le=256, description="CPU threads; 0 is one per physical core.")
    max_batch: int = Field(default=8, ge=1, le=64, description="Most pictures in one UNet call.")
    preview_interval: float = Field(
        default=0.25, ge=0, le=10, description="Least seconds between live previews; 0 is off."
    )
    snapshot_interval: float = Field(default=5.0, ge=0, le=600, description="Seconds between snapshots for resuming.")
    heartbeat_timeout: float = Field(
        default=30.0, ge=1, le=600, description="Seconds of silence before a hung engine is replaced."
    )
    reference_image: str = Field(default="", description="Reference picture for /generate's ip_strength.")


class MemorySettings(_Section):
    """[memory]: what may stay loaded."""

    pool_gb: float = Field(
        default=0.0, ge=0, le=4096, description="Memory for loaded models in GB; 0 is half of what is free."
    )
    level: Literal["auto", "none", "balanced", "aggressive", "ultra"] = Field(
        default="auto", description="Memory level."
    )
    cleanup_each_step: bool = Field(
        default=False, description="Give memory back after every step too; slows everything down."
    )
    idle_minutes: float = Field(
        default=10.0,
        ge=0,
        le=10_080,
        description="Minutes of quiet after which what is not pinned leaves the GPU's memory; 0 is never.",
    )
    idle_ram: bool = Field(default=False, description="Whether it leaves RAM then too.")
    cache_mb: float = Field(
        default=256.0, ge=0, le=65_536, description="Most MB that each cache may keep; 0 keeps nothing."
    )
    cache_minutes: float = Field(
        default=60.0,
        ge=0,
        le=10_080,
        description="Minutes after which a cached value that nobody asked for is dropped; 0 is never.",
    )
    verify_hours: float = Field(
        default=24.0,
        ge=0,
        le=8760,
        description="Hours between two checks whether a loaded file is still what it was; 0 is never.",
    )
    adapter_storage: Literal["auto", "file", "float16", "bfloat16", "int8"] = Field(
        default="auto",
        description="How loaded adapters are kept; auto is as their file has them, and int8 where memory is short.",
    )


class PathSettings(_Section):
    """[paths]: where files are."""

    data: str = Field(default="", description="Folder for outputs and models; empty: the studio's own folder.")
    outputs: str = Field(default="outputs", description="Folder for pictures, below the data folder unless absolute.")
    models: str = Field(default="models", description="Folder for model files, below the data folder unless absolute.")
    extra: tuple[str, ...] = Field(
        default=(), description="Folders of A1111, Forge, ComfyUI, SD.Next or InvokeAI to use in place."
    )
    name_pattern: str = Field(
        default="{model}_{date}_{time}_{id}", description="Names of pictures; see docs/file-formats.md for the fields."
    )


class CatalogueModel(_Section):
    """[catalogue.models.<id>]: a base model, as in the seed's ModelConfig."""

    name: str
    path: str
    vae_path: str | None = None
    supported_loras: tuple[str, ...] = ()
    default_negative: str = ""
    defaults: ModelDefaults = ModelDefaults()


class CatalogueLora(_Section):
    """[catalogue.loras.<id>]: an adapter, as in the seed's LoRAConfig."""

    name: str
    path: str
    default_weight: float = 0.8
    trigger_words: tuple[str, ...] = ()


class CatalogueSettings(_Section):
    """[catalogue]: named models and adapters."""

    models: dict[str, CatalogueModel] = {}
    loras: dict[str, CatalogueLora] = {}


class ExtensionSettings(_Section):
    """[extensions]: what is switched off, and each extension's own values."""

    disabled: tuple[str, ...] = Field(default=(), description="Ids of extensions that are not loaded.")
    values: dict[str, dict[str, Any]] = Field(default={}, description="Settings of extensions, by id.")


class Settings(_Section):
    """The whole of config.toml."""

    ui: UiSettings = UiSettings()
    engine: EngineSettings = EngineSettings()
    memory: MemorySettings = MemorySettings()
    paths: PathSettings = PathSettings()
    catalogue: CatalogueSettings = CatalogueSettings()
    extensions: ExtensionSettings = ExtensionSettings()

    @property
    def data_dir(self) -> Path:
        """The folder that holds outputs and the user's models."""
        return Path(self.paths.data).expanduser().resolve() if self.paths.data else ROOT

    @property
    def outputs_dir(self) -> Path:
        """Where pictures are written."""
        return self.data_dir / Path(self.paths.outputs).expanduser()

    @property
    def models_dir(self) -> Path:
        """The user's model files."""
        return self.data_dir / Path(self.paths.models).expanduser()

    @property
    def starter_dir(self) -> Path:
        """The model that ships with Easel; it stays with the code wherever the data folder is."""
        return ROOT / "models" / "starter"

    @property
    def state_dir(self) -> Path:
        """Easel's own files: the database, snapshots, assets, the bin. Never served."""
        return self.outputs_dir / ".easel"


def load_settings(path: Path | None = None, *, data: str | None = None) -> Settings:
    """Read config.toml (defaults where it is missing); `data` overrides `[paths] data`.

    Raises:
        ConfigError: `config_unreadable`, `config_unknown_key`, `config_bad_value`.
    """
    file = path or ROOT / "config.toml"
    raw = read_config(file, named=path is not None)
    if data is not None and isinstance(raw.setdefault("paths", {}), dict):
        raw["paths"]["data"] = data
    return parse_settings(raw, file.name)


def parse_settings(raw: dict[str, Any], source: str = "config.toml") -> Settings:
    """Check a table of settings; the first problem becomes one `ConfigError`."""
    try:
        return Settings.model_validate(raw)
    except ValidationError as error:
        raise _as_config_error(error, source) from error


def _as_config_error(error: ValidationError, source: str) -> ConfigError:
    first = error.errors()[0]
    where = [str(part) for part in first["loc"]]
    table = f"[{'.'.join(where[:-1])}]" if where[:-1] else "the file"
    if first["type"] == "extra_forbidden":
        known = _keys_beside(where)
        near = difflib.get_close_matches(where[-1], known, n=1, cutoff=0.4)
        hint = f"Did you mean “{near[0]}”?" if near else f"Known: {', '.join(known)}."
        return config_refusal("config_unknown_key", source, f"there is no setting “{where[-1]}” in {table}", hint)
    if first["type"] in ("model_type", "model_attributes_type", "dict_type"):
        what, hint = f"“{where[-1]}” in {table} must be a table", f"Begin it with a line [{'.'.join(where)}]."
    elif first["type"] == "missing":
        what, hint = f"“{where[-1]}” is missing in {table}", "Add the line."
    else:
        what = f"the value of “{where[-1]}” in {table} is not usable: {why(first)}"
        hint = "Correct the value, or delete the line."
    return config_refusal("config_bad_value", source, what, hint)


def _keys_beside(where: Sequence[str]) -> list[str]:
    """The keys that are known at the place of the last part of `where`."""
    model: Any = Settings
    for part in where[:-1]:
        fields = getattr(model, "model_fields", None)
        if fields is None or part not in fields:
            # Inside a table of named entries: the part is the entry's own id.
            continue
        annotation = fields[part].annotation
        arguments = getattr(annotation, "__args__", ())
        model = arguments[-1] if arguments else annotation
    return list(getattr(model, "model_fields", {}))
