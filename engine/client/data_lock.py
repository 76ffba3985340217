"""The lock on a data folder: one studio at a time, and others can read which one it is.

The operating system holds the lock for as long as the file is open, so a crash frees it; the JSON in the same file says
who holds it. Standard library only, because launch.py looks at it before it starts anything.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from engine import platform
from engine.errors import ConflictError, StorageError

FILE_NAME = "lock"
# Whoever looks who holds the lock takes it for an instant; a studio that starts in that instant tries again.
_PATIENCE_SECONDS = 0.5


@dataclass(frozen=True)
class LockHolder:
    """The studio that uses a data folder.

    `url` is empty for a run without a page; `started` in seconds since the epoch.
    """

    url: str
    pid: int
    started: float


class DataLock:
    """Held by the studio for its whole life.

    Args:
        state_dir: Easel's own folder (`Settings.state_dir`); made if missing.
        name: of the lock file; the engine may hold one of its own.
    """

    def __init__(self, state_dir: Path, name: str = FILE_NAME) -> None:
        self.path = state_dir / name
        self._handle: IO[bytes] | None = None

    @property
    def held(self) -> bool:
        return self._handle is not None

    def acquire(self, url: str, *, patience: float = _PATIENCE_SECONDS) -> None:
        """Take the folder, waiting up to `patience` seconds for another to let go.

        Raises:
            ConflictError: `data_folder_in_use`, naming the running studio.
            StorageError: `disk_full`, `disk_read_only` or `disk_error` where the file cannot be written.
        """
        if self._handle is not None:
            raise AssertionError("this lock is held already")
        handle = self._open()
        deadline = time.monotonic() + patience
        while not platform.try_lock(handle):
            if time.monotonic() >= deadline:
                handle.close()
                raise in_use_error(self.path.parent, _read(self.path))
            time.sleep(0.05)
        self._handle = handle
        self.tell(url)

    def tell(self, url: str) -> None:
        """Write who holds the lock (again, when the address has become known)."""
        if self._handle is None:
            raise AssertionError("only the holder of the lock may say who it is")
        text = json.dumps({"url": url, "pid": os.getpid(), "started": time.time()})
        try:
            self._handle.seek(0)
            self._handle.truncate()
            self._handle.write(text.encode())
            self._handle.flush()
        except OSError as error:
            self.release()
            raise _storage_error(self.path, error) from error

    def release(self) -> None:
        """Let the folder go; doing so twice is no error."""
        if self._handle is None:
            return
        platform.unlock(self._handle)
        self._handle.close()
        self._handle = None

    def __enter__(self) -> DataLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _open(self) -> IO[bytes]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Not open(…, "w"): that would empty the file of the studio that holds it.
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            return os.fdopen(descriptor, "r+b", buffering=0)
        except OSError as error:
            raise _storage_error(self.path, error) from error


def current_holder(state_dir: Path, name: str = FILE_NAME) -> LockHolder | None:
    """The studio that uses this data folder now, or None. Never waits, creates nothing."""
    path = state_dir / name
    try:
        with open(path, "r+b", buffering=0) as handle:
            if platform.try_lock(handle):
                platform.unlock(handle)
                return None
    except OSError:
        return None
    return _read(path)


def in_use_error(state_dir: Path, holder: LockHolder) -> ConflictError:
    """The sentence for a second studio on one data folder."""
    where = f"at {holder.url}" if holder.url else f"as process {holder.pid}"
    hint = f"Open {holder.url}, or start" if holder.url else "Wait until it is done, or start"
    return ConflictError(
        "data_folder_in_use",
        f"Easel already runs {where} with the folder {state_dir.parent}.",
        f"{hint} with --data and another folder.",
    )


def _read(path: Path) -> LockHolder:
    """What the holder wrote; it may be writing just now, so look a few times."""
    for _ in range(5):
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            return LockHolder(url=str(data["url"]), pid=int(data["pid"]), started=float(data["started"]))
        except (OSError, ValueError, KeyError, TypeError):
            time.sleep(0.02)
    return LockHolder(url="", pid=0, started=0.0)


def _storage_error(path: Path, error: OSError) -> StorageError:
    folder = path.parent
    if error.errno == 28:
        return StorageError("disk_full", f"The disk with {folder} is full.", "Free some space, or use --data.")
    if error.errno in (1, 13, 30):
        return StorageError(
            "disk_read_only", f"Easel may not write to {folder}.", "Allow it, or name another folder with --data."
        )
    return StorageError("disk_error", f"{path} cannot be written: {error.strerror or error}.", "Check the disk.")
