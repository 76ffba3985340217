"""Finds, checks and imports extensions. A broken one becomes a card with the reason, never a broken studio.

An extension is a folder `extensions/<id>/` with an `extension.toml` and an entry file (usually `ui.py`) that has
`register(host)`. The folder is imported as a package of its own, so an id with a hyphen works, and `from . import x`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.errors import ConfigError
from engine.extension_folder import (
    DEFAULT_ENTRY,
    MANIFEST,
    extension_folders,
    guard,
    read_manifest,
    register_function,
)
from webui.host import HOST_API, ExtensionCard, ExtensionHost

log = logging.getLogger("easel.extensions")


@dataclass(frozen=True)
class LoadedExtension:
    """An extension that registered itself: its card and what it collected."""

    card: ExtensionCard
    host: ExtensionHost


@dataclass(frozen=True)
class ExtensionScan:
    """All extensions of the folder: those that work, and a card for each one whatever its state."""

    loaded: tuple[LoadedExtension, ...]
    cards: tuple[ExtensionCard, ...]


def load_extensions(root: Path, *, disabled: Sequence[str] = (), safe_mode: bool = False) -> ExtensionScan:
    """Load every extension below `root`, in the order of their folders' names.

    Args:
        root: the `extensions` folder; a missing one means that there are none.
        disabled: ids that are not loaded (`[extensions] disabled`).
        safe_mode: load none at all (`--safe-mode`).
    """
    loaded: list[LoadedExtension] = []
    cards: list[ExtensionCard] = []
    seen: dict[str, str] = {}
    for folder in extension_folders(root):
        outcome = _load_one(folder, seen, disabled, safe_mode)
        if isinstance(outcome, LoadedExtension):
            loaded.append(outcome)
            cards.append(outcome.card)
        else:
            cards.append(outcome)
            if outcome.state == "broken":
                say_broken(outcome)
    return ExtensionScan(tuple(loaded), tuple(cards))


def say_broken(card: ExtensionCard) -> None:
    """One line in the terminal, for whoever does not look at the Extensions tab."""
    place = f" ({card.detail})" if card.detail else ""
    log.warning("the extension “%s” is not loaded: %s%s", card.id, " ".join(card.reason.split()), place)


def _load_one(
    folder: Path, seen: dict[str, str], disabled: Sequence[str], safe_mode: bool
) -> LoadedExtension | ExtensionCard:
    try:
        manifest = read_manifest(folder, HOST_API)
    except ConfigError as error:
        return ExtensionCard(folder.name, folder.name, state="broken", reason=str(error), detail=MANIFEST)
    card = ExtensionCard(manifest.id, manifest.name, manifest.version, manifest.description)
    if manifest.id in seen:
        reason = f"Another extension, in the folder “{seen[manifest.id]}”, already has the id “{manifest.id}”."
        return replace(card, state="broken", reason=f"{reason} Give this one another id.", detail=folder.name)
    seen[manifest.id] = folder.name
    if safe_mode:
        return replace(card, state="off", reason="Easel was started with --safe-mode: no extension is loaded.")
    if manifest.id in disabled:
        return replace(card, state="off", reason="Switched off in config.toml, [extensions] disabled.")
    host = ExtensionHost(manifest.id, manifest.name)
    if manifest.engine and manifest.entry == DEFAULT_ENTRY and not (folder / DEFAULT_ENTRY).is_file():
        # All that it does, it does in the engine.
        return LoadedExtension(card, host)
    reason, detail = guard(lambda: register_function(folder, manifest.id, manifest.entry, "entry")(host))
    if reason:
        return replace(card, state="broken", reason=reason, detail=detail)
    return LoadedExtension(replace(card, adds=_adds(host)), host)


def _adds(host: ExtensionHost) -> tuple[str, ...]:
    tabs = [f"tab “{tab.title}”" for tab in host.tabs]
    panels = [f"panel “{panel.title}”" for panel in host.panels]
    settings = ["settings"] if host.setting_groups else []
    routes = [f"{route.method} {route.address}" for route in host.routes]
    return tuple(tabs + panels + settings + routes)
