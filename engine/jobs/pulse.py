"""Pulse: the worker's sign of life, read by the heartbeat route."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Pulse:
    """How long ago the worker last showed life.

    The worker beats at every loop and between UNet blocks. Work that cannot beat (reading a large file) announces how
    long it may take, so that a slow disk is not mistaken for a hang.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = time.monotonic()
        self._allowance = 0.0

    def beat(self) -> None:
        """Show life."""
        with self._lock:
            self._last = time.monotonic()

    @contextmanager
    def allow(self, seconds: float) -> Iterator[None]:
        """Silence of up to `seconds` is normal inside."""
        with self._lock:
            self._allowance += seconds
        try:
            yield
        finally:
            with self._lock:
                self._allowance -= seconds
                self._last = time.monotonic()

    def age(self) -> float:
        """Seconds of silence beyond what was announced; 0.0 and more."""
        with self._lock:
            return max(0.0, time.monotonic() - self._last - self._allowance)
