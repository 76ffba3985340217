"""The engine's own words: kept in outputs/.easel/engine.log, the last lines in memory too."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import IO

MAX_BYTES = 5_000_000
KEPT_FILES = 3
_LONGEST_LINE = 16_384


class EngineLog:
    """Appends what an engine prints to a file that never grows beyond `max_bytes`; older files are .1, .2 and .3.

    A disk that refuses costs the log, never the studio: the last lines stay in memory.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES, keep: int = KEPT_FILES, remember: int = 60) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._lines: deque[str] = deque(maxlen=remember)
        self._part = b""
        self._file: IO[bytes] | None = None
        self._size = 0

    def begin(self, pid: int) -> None:
        """Mark the start of an engine's life; what came before is not remembered as its words."""
        self.flush_part()
        self._lines.clear()
        self._write(f"--- engine {pid} started {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())

    def end(self, reason: str) -> None:
        """Say why an engine's life ended, which the engine itself often cannot. `reason` follows "The engine"."""
        self.flush_part()
        self._write(f"--- engine ended {time.strftime('%Y-%m-%d %H:%M:%S')}: it {reason}\n".encode())

    def feed(self, chunk: bytes) -> None:
        """Take bytes as they come from the pipe; lines may be split anywhere."""
        self._part += chunk
        *lines, self._part = self._part.split(b"\n")
        for line in lines:
            self._line(line)
        if len(self._part) > _LONGEST_LINE:
            self.flush_part()

    def flush_part(self) -> None:
        """Keep the beginning of a line whose end did not come."""
        part, self._part = self._part, b""
        if part:
            self._line(part)

    def last_lines(self, count: int) -> list[str]:
        """The newest lines of this engine's life that are not blank, oldest first."""
        return list(self._lines)[-count:]

    def close(self) -> None:
        self.flush_part()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _line(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip()
        if text:
            self._lines.append(text[:2000])
        self._write(line.rstrip(b"\r") + b"\n")

    def _write(self, data: bytes) -> None:
        try:
            if self._file is None or self._size + len(data) > self._max_bytes:
                self._open_next()
            assert self._file is not None
            self._file.write(data)
            self._size += len(data)
        except OSError:
            self._file = None

    def _open_next(self) -> None:
        """Open the file, moving a full one aside first."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists() and self.path.stat().st_size >= self._max_bytes // 2:
            for number in range(self._keep - 1, 0, -1):
                older = self._numbered(number)
                if older.exists():
                    older.replace(self._numbered(number + 1))
            self.path.replace(self._numbered(1))
        self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115  open for as long as the engine lives
        self._size = self.path.stat().st_size

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")
