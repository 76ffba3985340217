"""`launch.py import-paths FOLDER`: use the model folders of another studio in place."""

from __future__ import annotations

import sys
from pathlib import Path

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Array, Table

from engine.config_file import config_refusal
from engine.errors import ConfigError, StorageError, StudioError
from engine.launcher.command_parser import CommandParser
from engine.library.layouts import detect_layout
from engine.settings import ROOT, load_settings


def main(arguments: list[str] | None = None) -> int:
    """The process entry."""
    parser = CommandParser("import-paths", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of A1111, Forge, ComfyUI, SD.Next, InvokeAI or SwarmUI")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings file to write to (config.toml)")
    try:
        found = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.write(import_paths(found.folder, found.config or ROOT / "config.toml") + "\n")
    except StudioError as error:
        sys.stderr.write(f"Easel: {error} [{error.code}]\n")
        return 1
    return 0


def import_paths(folder: Path, config: Path) -> str:
    """Add `folder` to `[paths] extra`, keeping every comment of the file; a sentence on what was found.

    Raises:
        ConfigError: `config_bad_value` for a folder that is no studio's, `config_unreadable` for the settings file.
        StorageError: `disk_error` where the file cannot be written.
    """
    folder = folder.expanduser().resolve()
    found = detect_layout(folder)
    if not found:
        raise ConfigError(
            "config_bad_value",
            f"{folder} {_what(folder)}.",
            "Name the folder of the other studio, or its folder “models”.",
        )
    load_settings(config if config.is_file() else None)
    added = _append(config, str(folder))
    listed = "\n".join(f"  {item.kind}: {item.path}" for item in found)
    source = found[0].source
    start = f"Easel now uses the models of {source} in place:" if added else f"{folder} was in the list already:"
    return f"{start}\n{listed}\nThey are listed when the studio starts, or after Refresh."


def _what(folder: Path) -> str:
    """Why nothing was found there."""
    if not folder.exists():
        return "does not exist"
    return "holds no model folders that Easel knows" if folder.is_dir() else "is a file, not a folder"


def _append(config: Path, folder: str) -> bool:
    try:
        document = tomlkit.parse(config.read_text(encoding="utf-8")) if config.is_file() else tomlkit.document()
    except (OSError, UnicodeDecodeError, TOMLKitError) as error:
        raise config_refusal("config_unreadable", config, f"it cannot be read: {error}", "Correct it.") from error
    section = document.get("paths")
    if not isinstance(section, Table):
        section = tomlkit.table()
        document["paths"] = section
    extra = section.get("extra")
    if not isinstance(extra, Array):
        extra = tomlkit.array()
        section["extra"] = extra
    if folder in extra:
        return False
    extra.append(folder)
    part = config.with_name(config.name + ".part")
    try:
        part.write_text(tomlkit.dumps(document), encoding="utf-8")
        part.replace(config)
    except OSError as error:
        raise StorageError(
            "disk_error", f"{config} cannot be written: {error.strerror or error}.", "Check the permissions."
        ) from error
    return True


if __name__ == "__main__":
    sys.exit(main())
