"""SnapshotStore: half-done pictures on the disk, so that a crash costs seconds."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from engine.errors import StorageError

SUFFIX = ".snapshot"


class SnapshotStore:
    """One file per picture, named by its id; written beside and renamed, so a reader never sees half of one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, image_id: str, data: bytes) -> None:
        """Replace the picture's snapshot. Raises StorageError `disk_error` where the disk refuses."""
        target = self._path(image_id)
        beside = target.with_suffix(".tmp")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(data)
            os.replace(beside, target)
        except OSError as error:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
            raise StorageError(
                "disk_error", f"The half-done picture could not be kept: {error.strerror}.", "Free some disk space."
            ) from error

    def read(self, image_id: str) -> bytes | None:
        """The picture's snapshot, or None."""
        try:
            return self._path(image_id).read_bytes()
        except OSError:
            return None

    def forget(self, image_id: str) -> None:
        """The picture is finished, or will never be."""
        try:
            self._path(image_id).unlink(missing_ok=True)
        except OSError:
            return

    def keep_only(self, image_ids: Iterable[str]) -> None:
        """Delete the snapshots of pictures that no job waits for."""
        wanted = set(image_ids)
        if not self._folder.is_dir():
            return
        for file in self._folder.iterdir():
            if file.suffix != SUFFIX or file.stem not in wanted:
                file.unlink(missing_ok=True)

    def _path(self, image_id: str) -> Path:
        return self._folder / f"{image_id}{SUFFIX}"
