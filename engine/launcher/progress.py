"""One line that moves on a terminal; plain lines everywhere else."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from types import TracebackType
from typing import TextIO


class ProgressLine:
    """Shows what is being done, and for how long. Use with `with`; `say` changes the text.

    On a terminal one line is repainted twice a second, so a long download does not look like a hang. Elsewhere (a log,
    a pipe) only texts marked as worth a line of their own are printed.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._live = self._stream.isatty()
        self._text = ""
        self._since = time.monotonic()
        self._done = threading.Event()
        self._painter: threading.Thread | None = None
        self._lock = threading.Lock()

    def say(self, text: str, *, own_line: bool = False) -> None:
        """Show `text`; with `own_line` also where there is no terminal."""
        with self._lock:
            if text != self._text:
                self._text, self._since = text, time.monotonic()
        if self._live:
            self._paint()
        elif own_line:
            print(f"  {text}", file=self._stream, flush=True)

    def __enter__(self) -> ProgressLine:
        if self._live:
            self._painter = threading.Thread(target=self._repaint, daemon=True)
            self._painter.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        if self._painter is not None:
            self._painter.join()
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def _repaint(self) -> None:
        while not self._done.wait(0.5):
            self._paint()

    def _paint(self) -> None:
        with self._lock:
            seconds = time.monotonic() - self._since
            text = f"  {self._text}" + (f" ({seconds:.0f} s)" if seconds >= 3 else "")
            width = shutil.get_terminal_size().columns - 1
            self._stream.write(f"\r\x1b[K{text[:width]}")
            self._stream.flush()
