"""Hashes of model files, in a background thread: reading a checkpoint takes up to minutes, and nobody waits for it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from engine.errors import ModelFileError
from engine.library.folders import component_folders, weight_files
from engine.library.headers import read_header

CHUNK = 4 << 20


class Canceled(Exception):
    """The studio is leaving; the hash is made another time."""


def sha256_of(path: Path, stopping: threading.Event | None = None) -> str:
    """SHA-256 (hex) of a file, as A1111 and Civitai (AutoV2) make it; of a folder, of its weight files' hashes.

    Raises:
        OSError: it cannot be read. Canceled: `stopping` was set.
    """
    digest = hashlib.sha256()
    if path.is_dir():
        for part in component_folders(path):
            for file in weight_files(part):
                digest.update(f"{file.relative_to(path).as_posix()}:{sha256_of(file, stopping)}\n".encode())
        return digest.hexdigest()
    _feed(digest.update, path, 0, stopping)
    return digest.hexdigest()


def data_hash(path: Path, start: int | None = None) -> str:
    """AutoV3: SHA-256 (hex) of all after a safetensors header, which edits of the metadata leave as it is.

    Adapters are known by it: A1111 writes its first 12 characters as "Lora hashes".

    Args:
        start: where the data begin, if the header was read before.

    Raises:
        ModelFileError: it is no safetensors file. OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    _feed(digest.update, path, read_header(path).data_start if start is None else start, None)
    return digest.hexdigest()


def auto_v3_of(path: Path) -> str:
    """The same; "" for what is no safetensors file."""
    try:
        return data_hash(path)
    except ModelFileError:
        return ""


def hashes_of(path: Path, stopping: threading.Event | None = None) -> tuple[str, str]:
    """SHA-256 and AutoV3 (hex) of a file, which is read once.

    Raises:
        OSError: it cannot be read. Canceled: `stopping` was set.
    """
    try:
        start = read_header(path).data_start if path.suffix.lower() == ".safetensors" and path.is_file() else 0
    except ModelFileError:
        start = 0
    if not start:
        return sha256_of(path, stopping), ""
    whole, data = hashlib.sha256(), hashlib.sha256()
    with path.open("rb") as file:
        whole.update(file.read(start))

    def both(chunk: bytes) -> None:
        whole.update(chunk)
        data.update(chunk)

    _feed(both, path, start, stopping)
    return whole.hexdigest(), data.hexdigest()


def _feed(update: Callable[[bytes], object], path: Path, start: int, stopping: threading.Event | None) -> None:
    with path.open("rb") as file:
        file.seek(start)
        while chunk := file.read(CHUNK):
            if stopping is not None and stopping.is_set():
                raise Canceled
            update(chunk)


class HashingThread:
    """Hashes files one after another and tells each result. New work replaces what is still waiting."""

    def __init__(self, done: Callable[[Path, str, str], None]) -> None:
        """`done(path, sha256, auto_v3)` is called in the thread; `auto_v3` is "" for what is no adapter."""
        self._done = done
        self._stopping = threading.Event()
        self._wake = threading.Condition()
        self._waiting: list[tuple[Path, bool]] = []
        self._busy = False
        self._thread: threading.Thread | None = None

    def put(self, work: Iterable[tuple[Path, bool]]) -> None:
        """Hash these files, in order; the flag asks for AutoV3 too."""
        with self._wake:
            self._waiting = list(work)
            self._wake.notify_all()
            if self._thread is None and self._waiting:
                self._thread = threading.Thread(target=self._run, name="easel-hashing", daemon=True)
                self._thread.start()

    def put_first(self, work: Iterable[tuple[Path, bool]]) -> None:
        """Hash these of the waiting ones next."""
        with self._wake:
            wanted = {path for path, _ in work}
            self._waiting.sort(key=lambda each: each[0] not in wanted)

    def wait(self, timeout: float) -> bool:
        """Wait until nothing is left to do; False after `timeout` seconds."""
        with self._wake:
            return self._wake.wait_for(lambda: not self._waiting and not self._busy, timeout)

    def stop(self) -> None:
        """Leave after the present chunk."""
        self._stopping.set()
        with self._wake:
            self._waiting = []
            self._wake.notify_all()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _run(self) -> None:
        while True:
            with self._wake:
                self._busy = False
                self._wake.notify_all()
                self._wake.wait_for(lambda: bool(self._waiting) or self._stopping.is_set())
                if self._stopping.is_set():
                    return
                path, wants_v3 = self._waiting.pop(0)
                self._busy = True
            try:
                if wants_v3:
                    sha256, auto_v3 = hashes_of(path, self._stopping)
                else:
                    sha256, auto_v3 = sha256_of(path, self._stopping), ""
            except (OSError, Canceled):
                continue
            self._done(path, sha256, auto_v3)
