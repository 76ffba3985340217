"""Every folder that the library looks through, in order, and which of them are away just now."""

from __future__ import annotations

import logging
from pathlib import Path

from engine.library.catalogue import Catalogue
from engine.library.layouts import FoundFolder, detect_layout
from engine.settings import Settings

# What docs/models.md names. Annotators lie beside the library: the preprocessors look for them.
OWN_FOLDERS = ("checkpoints", "loras", "vae", "controlnet", "embeddings", "upscalers", "annotators")

log = logging.getLogger("easel.engine")


def make_own_folders(settings: Settings) -> None:
    """Make the folders that people put models into, where a studio's data folder can be written.

    A models folder outside of the data folder is somebody else's (another studio's, a network drive): nothing is made
    there.
    """
    models = settings.models_dir
    if not models.resolve().is_relative_to(settings.data_dir.resolve()):
        return
    for name in OWN_FOLDERS:
        try:
            (models / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            log.info("the folder %s cannot be made: %s", models / name, error.strerror or error)
            return


class Roots:
    """The folders of the settings: the starter's, the user's own, those of other studios, those of the catalogue."""

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        self._settings = settings
        self._catalogue = catalogue

    def present(self) -> list[FoundFolder]:
        """Every folder to look through, the most particular first: a file belongs to the first that holds it."""
        starter, own = self._settings.starter_dir, self._settings.models_dir
        roots = [FoundFolder("checkpoint", starter, "Easel")]
        roots += [root for folder in (starter, own) for root in detect_layout(folder)]
        # Loose files anywhere below: only what is surely a base model is shown as one.
        roots += [FoundFolder("unknown", own, "Easel"), *self._extra(), *self._catalogue.roots()]
        return [root for root in roots if root.path.exists()]

    def for_models(self) -> list[Path]:
        """Where base models go: the user's own folder first, then those of other studios."""
        own = self._settings.models_dir / "checkpoints"
        return [own, *(root.path for root in self._extra() if root.kind == "checkpoint")]

    def away(self) -> list[Path]:
        """Whole folders that are away just now, such as those of an unplugged drive."""
        extra = [Path(text).expanduser() for text in self._settings.paths.extra]
        return [folder for folder in extra if not folder.exists()]

    def _extra(self) -> list[FoundFolder]:
        roots: list[FoundFolder] = []
        for text in self._settings.paths.extra:
            folder = Path(text).expanduser()
            roots += detect_layout(folder) or [FoundFolder("checkpoint", folder, "")]
        return roots
