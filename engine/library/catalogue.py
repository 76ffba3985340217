"""Catalogue entries of config.toml: their paths found, their problems said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from engine.library.hub import cached_snapshot, is_hub_id
from engine.library.layouts import FoundFolder
from engine.library.models import Naming
from engine.protocol.library import ModelDefaults
from engine.settings import ROOT, CatalogueLora, Settings


class Catalogue:
    """`[catalogue]` of config.toml: `path` is a file, a folder, or a hub id that this machine has a copy of."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def models(self, saved: Mapping[str, ModelDefaults]) -> Iterator[tuple[Naming, Path]]:
        """How each entry is called, and where its model lies (or should)."""
        for model_id, entry in self._settings.catalogue.models.items():
            path, is_hub = self.locate(entry.path)
            vae, vae_is_hub = self.locate(entry.vae_path) if entry.vae_path else (None, False)
            problem = ""
            if not path.exists():
                problem = _absent("model", entry.name, entry.path, is_hub)
            elif vae is not None and not vae.exists():
                problem = _absent("VAE", entry.name, entry.vae_path or "", vae_is_hub)
            yield (
                Naming(
                    id=model_id,
                    title=entry.name,
                    vae_path=vae,
                    default_negative=entry.default_negative,
                    supported_loras=entry.supported_loras,
                    defaults=entry.defaults,
                    saved=saved.get(model_id, ModelDefaults()),
                    format="hub" if is_hub else None,
                    problem=problem,
                    code="model_file_missing" if problem else "",
                ),
                path,
            )

    @property
    def lora_ids(self) -> tuple[str, ...]:
        """The ids that the catalogue gives to adapters."""
        return tuple(self._settings.catalogue.loras)

    def loras(self) -> Iterator[tuple[str, CatalogueLora, Path, str]]:
        """Each adapter's id, entry, place, and a sentence where it is absent."""
        for lora_id, entry in self._settings.catalogue.loras.items():
            path, is_hub = self.locate(entry.path)
            yield lora_id, entry, path, "" if path.exists() else _absent("adapter", entry.name, entry.path, is_hub)

    def roots(self) -> list[FoundFolder]:
        """The catalogue's files, which may lie outside every model folder: the scan must know them too."""
        roots: list[FoundFolder] = []
        for model in self._settings.catalogue.models.values():
            roots.append(FoundFolder("checkpoint", self.locate(model.path)[0], "catalogue"))
            if model.vae_path:
                roots.append(FoundFolder("vae", self.locate(model.vae_path)[0], "catalogue"))
        roots += [FoundFolder("adapter", path, "catalogue") for _, _, path, absent in self.loras() if not absent]
        return roots

    def locate(self, text: str) -> tuple[Path, bool]:
        """The place of a catalogue path, and whether it is a hub id. Relative to data, models or Easel."""
        path = Path(text).expanduser()
        places = [path] if path.is_absolute() else [
            base / path for base in (self._settings.data_dir, self._settings.models_dir, ROOT)
        ]  # fmt: skip
        for place in places:
            if place.exists():
                return place, False
        if is_hub_id(text):
            return cached_snapshot(text) or places[0], True
        return places[0], False


def _absent(what: str, name: str, path: str, is_hub: bool) -> str:
    if is_hub:
        return f"The {what} of “{name}” is the hub's {path}, not on this machine; Easel fetches nothing by itself."
    return f"The {what} of “{name}” is not at {Path(path).name}, where config.toml says."
