"""What the library knows of a file that can be loaded: values for the rooms that load."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.families.families import Family
from engine.protocol.library import FileView, ModelView


@dataclass(frozen=True)
class VaeEntry:
    """A VAE file or folder that can stand in for a model's own. `stamp` changes when the file does."""

    view: FileView
    path: Path
    stamp: str = ""


@dataclass(frozen=True)
class ModelEntry:
    """A base model.

    Attributes:
        path: the single file, or the diffusers folder.
        family: `families.UNKNOWN` only where `view.problem` says why the model cannot be used.
        vae_path: the VAE that the catalogue or the user's sidecar names for it; None: the model's own.
        default_negative: the negative prompt that a job without one takes.
        config: the components' configs by part ("unet", "vae", "text_encoder", "scheduler", "model_index", …), with
            what was detected (v-prediction) written into "scheduler".
        config_dir: a diffusers folder with the configs: the model's own, its `<stem>.config/` sidecar, or the family's.
        parts: the parts that the file itself has.
        problem_code: the `ModelFileError` code that belongs to `view.problem`.
        stamp: size and time of change, so that a replaced file is another source.
    """

    view: ModelView
    path: Path
    family: Family
    vae_path: Path | None = None
    default_negative: str = ""
    config: dict[str, Any] = field(default_factory=dict, compare=False, hash=False)
    config_dir: Path | None = None
    parts: tuple[str, ...] = ()
    problem_code: str = ""
    stamp: str = ""

    @property
    def text_widths(self) -> tuple[int, ...]:
        """How long a token's vector is in each text encoder."""
        encoders = [part for part in self.family.parts if part.startswith("text_encoder")]
        return tuple(int(self.config.get(part, {}).get("hidden_size", 0)) for part in encoders)
