"""Files that appear whole or not at all, and what a refusing disk is called."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import StorageError
from engine.platform import claimed, is_claimed

TEMP_PREFIX = ".easel-"
TEMP_SUFFIX = ".tmp"
_FULL = {errno.ENOSPC, errno.EDQUOT}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}


def storage_error(error: OSError, what: str) -> StorageError:
    """`error` as a `StorageError` that says that `what` ("The picture x.png") could not be saved. Names no folder.

    Codes: `disk_full` (no space, quota), `disk_read_only` (read-only, no permission), `disk_error` (anything else).
    """
    if error.errno in _FULL:
        return StorageError("disk_full", f"{what} could not be saved: the disk is full.", "Free some space.")
    if error.errno in _READ_ONLY:
        return StorageError(
            "disk_read_only",
            f"{what} could not be saved: its folder cannot be written to.",
            "Check the folder's permissions, or choose another one under [paths] in config.toml.",
        )
    reason = (error.strerror or type(error).__name__).lower()
    return StorageError("disk_error", f"{what} could not be saved: {reason}.", "Check the disk, then try again.")


def write_whole(target: Path, data: bytes, what: str) -> None:
    """Write `data` to `target`. Raises as `appearing`."""
    with appearing(target, what) as temporary:
        temporary.write_bytes(data)


@contextmanager
def appearing(target: Path, what: str) -> Iterator[Path]:
    """A temporary file's path beside `target`, to write to; flushed to the disk, it takes the name when the block ends.

    A reader, or a computer that loses power, sees the old file or the new one, never a part. The folder is made.

    Raises:
        StorageError: `disk_full`, `disk_read_only`, `disk_error`; no temporary file is left behind.
    """
    try:
        with unfinished(target) as temporary:
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, target)
    except OSError as error:
        raise storage_error(error, what) from error
    _flush_folder(target.parent)


@contextmanager
def unfinished(target: Path, *, folder: bool = False) -> Iterator[Path]:
    """An empty temporary file (or folder) beside `target`, for whoever fills it and then gives it that name.

    While the block runs, no process takes it for a leftover. What has no name at the end is gone. Raises OSError.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{TEMP_PREFIX}{secrets.token_hex(8)}{TEMP_SUFFIX}")
    if folder:
        temporary.mkdir()
    else:
        temporary.touch(exist_ok=False)
    try:
        with claimed(temporary):
            yield temporary
    finally:
        if folder:
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path, *, older_than: float = 0.0, below: bool = False) -> int:
    """Delete what a killed process left half-written in `folder`; returns how many. For the start only.

    What a living process still writes stays.

    Args:
        older_than: seconds since the last change. Where the system cannot tell who still writes, younger ones stay.
        below: look into the folders inside, too.
    """
    count, now = 0, time.time()
    pattern = f"{TEMP_PREFIX}*{TEMP_SUFFIX}"
    for leftover in list(folder.rglob(pattern) if below else folder.glob(pattern)):
        try:
            writes = is_claimed(leftover)
            if writes or (writes is None and now - leftover.stat().st_mtime < older_than):
                continue
            if leftover.is_dir() and not leftover.is_symlink():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()
        except OSError:
            continue
        count += 1
    return count


def _flush_folder(folder: Path) -> None:
    """Make the new name itself durable, where the system lets a folder be opened (Windows does not)."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        return
    finally:
        os.close(handle)
