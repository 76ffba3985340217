"""Stamps: a short text that changes when a file's weights do, made without reading them."""

from __future__ import annotations

from pathlib import Path

from engine.library.folders import component_folders, weight_files


def stamp_of(path: Path) -> str:
    """Size and time of change of a file, or of the weights of a diffusers folder, whole model or single component.

    Raises:
        OSError: it is not there.
    """
    if path.is_dir():
        return ";".join(stamp_of(file) for folder in component_folders(path) for file in weight_files(folder))
    stat = path.stat()
    return f"{stat.st_size}-{stat.st_mtime_ns}"


def stamp_if_there(path: Path) -> str:
    """The stamp; "" where it is gone, or has no weights."""
    try:
        return stamp_of(path)
    except OSError:
        return ""
