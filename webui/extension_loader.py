"""Finds, checks and imports extensions. A broken one becomes a card with the reason, never a broken studio.

An extension is a folder `extensions/<id>/` with an `extension.toml` and an entry file (usually `ui.py`) that has
`register(host)`. The folder is imported as a package of its own, so an id with a hyphen works, and `from . import x`.
"""

from __future__ import annotations

import importlib.util
import sys
import tomllib
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine.errors import ConfigError, StudioError
from webui.host import HOST_API, ExtensionCard, ExtensionHost

MANIFEST = "extension.toml"
ID_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,47}$"


class Manifest(BaseModel):
    """`extension.toml`. Unknown keys are errors, so a misspelt one is found at once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=ID_PATTERN)
    name: str = Field(min_length=1, max_length=60)
    version: str = Field(min_length=1, max_length=30)
    api: int
    description: str = ""
    author: str = ""
    licence: str = ""
    entry: str = "ui.py"
    engine: str = ""


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
    for folder in _folders(root):
        outcome = _load_one(folder, seen, disabled, safe_mode)
        if isinstance(outcome, LoadedExtension):
            loaded.append(outcome)
            cards.append(outcome.card)
        else:
            cards.append(outcome)
    return ExtensionScan(tuple(loaded), tuple(cards))


def guard(action: Callable[[], Any]) -> tuple[str, str]:
    """Run an extension's own code. Returns ("", "") or a sentence and the place in the extension's code.

    This is the extension guard: the one place of the web process where any exception is caught, `sys.exit()` too.
    """
    try:
        action()
    except StudioError as error:
        return str(error), _place(error)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the extension guard
        return f"{type(error).__name__}: {error}".rstrip(": ") + ".", _place(error)
    return "", ""


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith((".", "_")))


def _load_one(
    folder: Path, seen: dict[str, str], disabled: Sequence[str], safe_mode: bool
) -> LoadedExtension | ExtensionCard:
    try:
        manifest = read_manifest(folder)
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
    reason, detail = guard(lambda: _register(folder, manifest, host))
    if reason:
        return replace(card, state="broken", reason=reason, detail=detail)
    note = "Its engine half is not loaded: that is not built yet." if manifest.engine else ""
    return LoadedExtension(replace(card, reason=note, adds=_adds(host)), host)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the extension in `folder`.

    Raises:
        ConfigError: `manifest_invalid` with what is wrong, and what to do.
    """
    path = folder / MANIFEST
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise _invalid(f"There is no {MANIFEST} in the folder.", "docs/extensions.md shows one.") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _invalid(f"{MANIFEST} cannot be read: {error}.", "Correct that line.") from error
    try:
        manifest = Manifest.model_validate(raw)
    except ValidationError as error:
        raise _from_validation(error) from error
    if manifest.api != HOST_API:
        raise _invalid(
            f"It was written for host API {manifest.api}; this Easel has host API {HOST_API}.",
            "Look for a newer version of the extension." if manifest.api < HOST_API else "Update Easel.",
        )
    return manifest


def _from_validation(error: ValidationError) -> ConfigError:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return _invalid(f"{MANIFEST} has an unknown key “{key}”.", f"Known keys: {', '.join(Manifest.model_fields)}.")
    if first["type"] == "missing":
        return _invalid(f"{MANIFEST} lacks “{key}”.", f"Add a line: {key} = …")
    if key == "id":
        return _invalid(f"{MANIFEST}: the id is not usable.", "Use small letters, digits, hyphens and underscores.")
    return _invalid(f"{MANIFEST}: {key} is not usable: {first['msg']}.", "Correct the value.")


def _invalid(message: str, hint: str) -> ConfigError:
    return ConfigError("manifest_invalid", message, hint)


def _register(folder: Path, manifest: Manifest, host: ExtensionHost) -> None:
    entry = folder / manifest.entry
    if not entry.is_file() or folder.resolve() not in entry.resolve().parents:
        raise _invalid(f"The entry file {manifest.entry} is missing.", f"Put it beside {MANIFEST}, or correct “entry”.")
    module = _import(folder, manifest.id, entry)
    register = getattr(module, "register", None)
    if not callable(register):
        raise _invalid(f"{manifest.entry} has no function register(host).", "docs/extensions.md shows one.")
    register(host)


def _import(folder: Path, extension_id: str, entry: Path) -> ModuleType:
    """Import `entry` as a module of a package made for this folder; an old copy in `sys.modules` is replaced."""
    package_name = f"easel_extension_{extension_id.replace('-', '__')}"
    for name in [name for name in sys.modules if name == package_name or name.startswith(f"{package_name}.")]:
        del sys.modules[name]
    package = ModuleType(package_name)
    package.__path__ = [str(folder)]
    sys.modules[package_name] = package
    name = f"{package_name}.{entry.stem}"
    spec = importlib.util.spec_from_file_location(name, entry)
    if spec is None or spec.loader is None:
        raise _invalid(f"{entry.name} is not a Python file.", "The entry must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _adds(host: ExtensionHost) -> tuple[str, ...]:
    tabs = [f"tab “{tab.title}”" for tab in host.tabs]
    panels = [f"panel “{panel.title}”" for panel in host.panels]
    settings = ["settings"] if host.setting_groups else []
    routes = [f"{route.method} {route.address}" for route in host.routes]
    return tuple(tabs + panels + settings + routes)


def _place(error: BaseException) -> str:
    """File and line where it went wrong, as the author of the extension wants to see it."""
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}, line {error.lineno}"
    own = [frame for frame in frames if "extension_loader" not in frame.filename and "importlib" not in frame.filename]
    return f"{Path(own[-1].filename).name}, line {own[-1].lineno}" if own else ""
