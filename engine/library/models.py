"""A `ModelEntry` out of what was found, its side files and the catalogue."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from engine.families.families import FAMILIES, UNKNOWN, Family, config_file, read_config
from engine.library.defaults import distilled, layered
from engine.library.entries import ModelEntry
from engine.library.identity import Identity
from engine.library.scan import Found
from engine.library.sidecars import Sidecar, read_sidecar
from engine.library.stamps import stamp_if_there
from engine.protocol.library import ModelDefaults, ModelView


@dataclass(frozen=True)
class Naming:
    """How an entry is called and what was said of it outside its file.

    Fields are those of the catalogue; `format` "hub" where the catalogue names a hub id; `problem` and `code` where the
    catalogue's entry cannot be used whatever the file is.
    """

    id: str
    title: str = ""
    vae_path: Path | None = None
    default_negative: str = ""
    supported_loras: tuple[str, ...] = ()
    defaults: ModelDefaults = field(default_factory=ModelDefaults)
    saved: ModelDefaults = field(default_factory=ModelDefaults)
    format: Literal["diffusers", "single_file", "hub"] | None = None
    problem: str = ""
    code: str = ""


@dataclass
class FamilyConfigs:
    """The shipped configs, read once a refresh and shared by all single files."""

    _read: dict[str, dict[str, Any]] = field(default_factory=dict)

    def of(self, family: Family) -> dict[str, Any]:
        """All configs of a family by part."""
        if family.id not in self._read:
            self._read[family.id] = _configs(family.config_dir, family)
        return self._read[family.id]


def build_entry(found: Found, naming: Naming, shipped: FamilyConfigs) -> ModelEntry:
    """The entry of a checkpoint file or folder; never raises: what is wrong stands in its view's `problem`."""
    path, identity = found.path, found.identity
    sidecar = read_sidecar(path)
    family = next((each for each in FAMILIES if each.id == identity.family), UNKNOWN)
    config_dir = _config_dir(path, family)
    vae_path = naming.vae_path or _vae_beside(path, sidecar)
    problem, code = naming.problem, naming.code
    if not problem:
        problem, code = _problem(identity, sidecar, family, path, config_dir, vae_path)
    config: dict[str, Any] = {}
    if not problem:
        try:
            config = _config(path, family, config_dir, identity, shipped)
        except (OSError, ValueError) as error:
            problem, code = f"The settings of {path.name} cannot be read: {error}.", "model_parts_missing"
    is_folder = path.is_dir()
    defaults = layered(
        family.defaults,
        distilled(naming.id if naming.format == "hub" else path.name),
        ModelDefaults(negative_prompt=naming.default_negative or sidecar.negative or None),
        sidecar.defaults,
        naming.defaults,
        naming.saved,
    )
    view = ModelView(
        id=naming.id,
        title=naming.title or sidecar.name or (path.name if is_folder else path.stem),
        family=sidecar.family or identity.family,
        format=naming.format or ("diffusers" if is_folder else "single_file"),
        size_bytes=found.size,
        dtype=identity.dtype,
        prediction_type=identity.prediction_type,
        hash=found.hash,
        defaults=defaults,
        supported_loras=naming.supported_loras,
        examples=sidecar.examples,
        description=sidecar.description or identity.description,
        problem=problem,
    )
    return ModelEntry(
        view=view,
        path=path,
        family=family,
        vae_path=vae_path,
        default_negative=defaults.negative_prompt or "",
        config=config,
        config_dir=config_dir,
        parts=identity.parts,
        problem_code=code,
        stamp=stamp_if_there(path),
    )


def missing_entry(naming: Naming, path: Path) -> ModelEntry:
    """The entry of a catalogue model that is not on this machine; `naming.problem` says so."""
    view = ModelView(
        id=naming.id,
        title=naming.title or naming.id,
        family="",
        format=naming.format or "single_file",
        defaults=layered(naming.defaults, naming.saved),
        supported_loras=naming.supported_loras,
        problem=naming.problem,
    )
    return ModelEntry(view, path, UNKNOWN, default_negative=naming.default_negative, problem_code=naming.code)


def _problem(
    identity: Identity, sidecar: Sidecar, family: Family, path: Path, config_dir: Path, vae_path: Path | None
) -> tuple[str, str]:
    """Why the model cannot be used, and the code of that; two empty texts where it can."""
    if identity.problem:
        return identity.problem, identity.code or "model_file_unsupported"
    if identity.kind != "checkpoint":
        return f"{path.name} is a file of kind “{identity.kind}”, not a base model.", "model_file_unsupported"
    if family is UNKNOWN:
        return f"{path.name} is not of a family that Easel knows.", "model_file_unsupported"
    if sidecar.problem:
        return sidecar.problem, "model_file_unsupported"
    own_shape = config_dir == family.config_dir and identity.text_width not in (0, family.cross_attention_dim)
    if path.is_file() and own_shape:
        sentence = (
            f"{path.name} has other shapes than {family.title}; its configs are needed in a folder "
            f"{path.stem}.config beside it."
        )
        return sentence, "model_file_unsupported"
    if "vae" not in identity.parts and vae_path is None:
        return f"{path.name} comes without a VAE, and none is set for it.", "model_parts_missing"
    if vae_path is not None and not vae_path.exists():
        return f"The VAE {vae_path.name} that is set for {path.name} is not there.", "model_file_missing"
    return "", ""


def _config_dir(path: Path, family: Family) -> Path:
    if path.is_dir():
        return path
    sidecar = path.with_suffix(".config")
    return sidecar if sidecar.is_dir() else family.config_dir


def _config(path: Path, family: Family, config_dir: Path, identity: Identity, shipped: FamilyConfigs) -> dict[str, Any]:
    """The configs by part, with what was detected in the file written into the scheduler's."""
    config: dict[str, Any] = dict(shipped.of(family))
    if config_dir != family.config_dir:
        config.update(_configs(config_dir, family))
    if path.is_file():
        scheduler = dict(config["scheduler"])
        scheduler["prediction_type"] = identity.prediction_type or scheduler.get("prediction_type", "epsilon")
        if identity.zero_snr:
            # Trained down to pure noise: the schedule must end there too (Lin et al. 2023, arXiv:2305.08891).
            scheduler["rescale_betas_zero_snr"] = True
            scheduler["timestep_spacing"] = "trailing"
        config["scheduler"] = scheduler
    return config


def _configs(folder: Path, family: Family) -> dict[str, Any]:
    parts = ("model_index", *family.parts)
    return {part: read_config(folder, part) for part in parts if config_file(folder, part).is_file()}


def _vae_beside(path: Path, sidecar: Sidecar) -> Path | None:
    """A VAE with the checkpoint's own name beside it (A1111's rule), or the one that its side file names."""
    if path.is_dir():
        return None
    for suffix in (".vae.safetensors", ".vae.pt"):
        if path.with_suffix(suffix).is_file():
            return path.with_suffix(suffix)
    if sidecar.vae:
        for folder in (path.parent, path.parent.parent / "VAE", path.parent.parent / "vae"):
            # Only the name counts: a side file may not point anywhere else.
            if (folder / Path(sidecar.vae).name).is_file():
                return folder / Path(sidecar.vae).name
    return None
