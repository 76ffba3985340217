"""The folder of an extension: its manifest, how its two halves are imported, and the guard that its code runs under."""

from __future__ import annotations

import importlib.util
import sys
import tomllib
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine.errors import ConfigError, StudioError

MANIFEST = "extension.toml"
DEFAULT_ENTRY = "ui.py"
ID_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,47}$"
_PACKAGE, _ID = "easel_extension_", "extension_id"
# Files of ours that stand in the traceback of an extension's fault.
_OURS = ("extension_loader", "extension_folder", "extension_halves", "importlib")


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
    entry: str = DEFAULT_ENTRY
    engine: str = ""


def extension_folders(root: Path) -> list[Path]:
    """The folders of all extensions below `root`, by name; a missing root means that there are none."""
    if not root.is_dir():
        return []
    return sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith((".", "_")))


def read_manifest(folder: Path, host_api: int) -> Manifest:
    """The manifest of the extension in `folder`.

    Raises:
        ConfigError: `manifest_invalid` with what is wrong, and what to do.
    """
    path = folder / MANIFEST
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise invalid_manifest(f"There is no {MANIFEST} in the folder.", "docs/extensions.md shows one.") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise invalid_manifest(f"{MANIFEST} cannot be read: {error}.", "Correct that line.") from error
    try:
        manifest = Manifest.model_validate(raw)
    except ValidationError as error:
        raise _from_validation(error) from error
    if manifest.api != host_api:
        raise invalid_manifest(
            f"It was written for host API {manifest.api}; this Easel has host API {host_api}.",
            "Look for a newer version of the extension." if manifest.api < host_api else "Update Easel.",
        )
    return manifest


def register_function(folder: Path, extension_id: str, file: str, key: str) -> Callable[[Any], object]:
    """Import one half and return its `register`. The extension's own code runs: call it inside a guard.

    Args:
        file: the half's file as the manifest has it, and `key` the name of that line ("entry", "engine").

    Raises:
        ConfigError: `manifest_invalid`: the file is missing, lies elsewhere, or has no `register`.
    """
    entry = folder / file
    if not entry.is_file() or folder.resolve() not in entry.resolve().parents:
        raise invalid_manifest(f"The entry file {file} is missing.", f"Put it beside {MANIFEST}, or correct “{key}”.")
    register = getattr(_imported(folder, extension_id, entry), "register", None)
    if not callable(register):
        raise invalid_manifest(f"{file} has no function register(host).", "docs/extensions.md shows one.")
    return register


def place_of(error: BaseException) -> str:
    """File and line where it went wrong, as the author of the extension wants to see it."""
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}, line {error.lineno}"
    own = [frame for frame in frames if not any(name in frame.filename for name in _OURS)]
    return f"{Path(own[-1].filename).name}, line {own[-1].lineno}" if own else ""


def extension_of(error: BaseException) -> str:
    """The id of the extension whose code was running when `error` was raised, or nothing."""
    modules = (str(frame.f_globals.get("__name__", "")) for frame, _ in traceback.walk_tb(error.__traceback__))
    packages = (sys.modules.get(name.partition(".")[0]) for name in modules if name.startswith(_PACKAGE))
    return next((str(vars(package).get(_ID, "")) for package in packages if package is not None), "")


def guard(action: Callable[[], Any]) -> tuple[str, str]:
    """Run an extension's own code. Returns ("", "") or a sentence and the place in the extension's code.

    This is the extension guard: the one place where any exception of an extension is caught, `sys.exit()` too.
    """
    try:
        action()
    except StudioError as error:
        return str(error), place_of(error)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the extension guard
        return f"{type(error).__name__}: {error}".rstrip(": ") + ".", place_of(error)
    return "", ""


def invalid_manifest(message: str, hint: str) -> ConfigError:
    """The error of an extension that cannot be loaded as it is."""
    return ConfigError("manifest_invalid", message, hint)


def _from_validation(error: ValidationError) -> ConfigError:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = ", ".join(Manifest.model_fields)
        return invalid_manifest(f"{MANIFEST} has an unknown key “{key}”.", f"Known keys: {known}.")
    if first["type"] == "missing":
        return invalid_manifest(f"{MANIFEST} lacks “{key}”.", f"Add a line: {key} = …")
    if key == "id":
        return invalid_manifest(
            f"{MANIFEST}: the id is not usable.", "Use small letters, digits, hyphens and underscores."
        )
    return invalid_manifest(f"{MANIFEST}: {key} is not usable: {first['msg']}.", "Correct the value.")


def _imported(folder: Path, extension_id: str, entry: Path) -> ModuleType:
    """Import `entry` as a module of a package made for this folder; an old copy in `sys.modules` is replaced."""
    package_name = f"{_PACKAGE}{extension_id.replace('-', '__')}"
    for name in [name for name in sys.modules if name == package_name or name.startswith(f"{package_name}.")]:
        del sys.modules[name]
    package = ModuleType(package_name)
    package.__path__ = [str(folder)]
    package.__dict__[_ID] = extension_id
    sys.modules[package_name] = package
    name = f"{package_name}.{entry.stem}"
    spec = importlib.util.spec_from_file_location(name, entry)
    if spec is None or spec.loader is None:
        raise invalid_manifest(f"{entry.name} is not a Python file.", "The entry must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
