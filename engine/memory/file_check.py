"""FileCheck: files behind loaded parts, watched while they are loaded: did they change, are they still what they were.

A thread of its own looks once a minute. A file that changed on the disk is told at once. Its bytes are hashed again
once per (path, size, time of change), and later from time to time, and compared with the hash that the library made
when it first saw the file: a disk or a copy that went wrong without changing the file's date is told too. Files that
the library makes no hash of (ControlNets, VAEs, upscalers) are compared with the first hash that is made here.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path

from engine.errors import ModelFileError, StudioError
from engine.library.hashing import Canceled, sha256_of
from engine.library.stamps import stamp_if_there

log = logging.getLogger("easel.memory")

LOOK_SECONDS = 60.0
HOUR = 3600.0


def file_of(key: Hashable) -> Path | None:
    """The file or folder that a part was loaded from; None for what has none."""
    source = str(getattr(key, "source", "") or getattr(key, "vae", ""))
    path = Path(source.partition("|")[0]) if source else None
    return path if path is not None and path.is_absolute() else None


class FileCheck:
    """`seen` is called on the worker's thread when a part was loaded; the rest happens on the thread of `start`.

    Args:
        loaded: keys of all parts that are loaded or rest now.
        expected: the SHA-256 (hex) that a file had when the library first read it; "" while it is not known, None for
            files that the library makes no hash of.
        fault: told of what is wrong, once for each file.
        hours: between two checks of the same file; 0 compares no hashes.
        clock: seconds.
    """

    def __init__(
        self,
        loaded: Callable[[], Iterable[Hashable]],
        expected: Callable[[Path], str | None],
        fault: Callable[[StudioError], None],
        *,
        hours: float = 24.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loaded, self._expected, self._fault = loaded, expected, fault
        self._hours, self._clock = hours, clock
        self._stamps: dict[Path, str] = {}
        self._verified: dict[tuple[Path, str], float] = {}
        self._first: dict[tuple[Path, str], str] = {}
        self._told: set[tuple[Path, str, str]] = set()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to look, in the background."""
        self._thread = threading.Thread(target=self._run, name="easel-file-check", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop looking; a hash that is being made is left."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def seen(self, key: Hashable) -> None:
        """A part was loaded: its file is what it is now."""
        path = file_of(key)
        if path is not None:
            self._stamps[path] = stamp_if_there(path)

    def look(self) -> None:
        """One round over everything that is loaded."""
        for path in dict.fromkeys(path for key in self._loaded() if (path := file_of(key)) is not None):
            known = self._stamps.setdefault(path, stamp_if_there(path))
            now = stamp_if_there(path)
            if now != known:
                self._tell(path, now, _changed(path) if now else _gone(path))
            elif now and self._hours:
                self._verify(path, now)

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            self.look()

    def _verify(self, path: Path, stamp: str) -> None:
        checked = self._verified.get((path, stamp))
        if checked is not None and self._clock() - checked < self._hours * HOUR:
            return
        expected = self._expected(path)
        if expected == "":
            # The library is still at it; the next round asks again.
            return
        try:
            found = sha256_of(path, self._stopping)
        except Canceled:
            return
        except OSError as error:
            self._tell(path, stamp, _unreadable(path, error))
            return
        self._verified[path, stamp] = self._clock()
        first = expected or self._first.setdefault((path, stamp), found)
        if found != first and stamp_if_there(path) == stamp:
            self._tell(path, stamp, _damaged(path))

    def _tell(self, path: Path, stamp: str, error: StudioError) -> None:
        if (path, stamp, error.code) in self._told:
            return
        self._told.add((path, stamp, error.code))
        log.warning("%s", error)
        self._fault(error)


def _changed(path: Path) -> ModelFileError:
    return ModelFileError(
        "model_file_changed",
        f"{path.name} was changed on the disk while it is loaded.",
        "Pictures that run finish with what was loaded; later ones read the new file.",
    )


def _gone(path: Path) -> ModelFileError:
    return ModelFileError(
        "model_file_missing",
        f"{path.name} was removed from the disk while it is loaded.",
        "Put it back before it is released; it cannot be loaded again otherwise.",
    )


def _unreadable(path: Path, error: OSError) -> ModelFileError:
    return ModelFileError(
        "model_file_damaged",
        f"{path.name} cannot be read any more: {error.strerror or error}.",
        "Check the disk, and fetch the file again.",
    )


def _damaged(path: Path) -> ModelFileError:
    return ModelFileError(
        "model_file_damaged",
        f"{path.name} holds other bytes than when it was first read, though nobody changed it.",
        "Check the disk, and fetch the file again.",
    )
