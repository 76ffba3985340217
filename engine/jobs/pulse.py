"""Pulse: the worker's sign of life, read by the heartbeat route."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Silence, in seconds, of an engine that computes: a block of a large model may take minutes on a slow CPU.
COMPUTING_ALLOWANCE = 600.0
# From this share of one core on it computes; an idle engine takes a hundredth.
COMPUTING_SHARE = 0.1


class Pulse:
    """How long ago the worker last showed life.

    The worker beats at every loop and between UNet blocks. Work that cannot beat (reading a large file) announces how
    long it may take, so that a slow disk is not mistaken for a hang. Who computes all the while does not hang either.

    Args:
        clock, cpu: seconds that went by, and that this process computed.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, cpu: Callable[[], float] = time.process_time
    ) -> None:
        self._lock = threading.Lock()
        self._clock, self._cpu = clock, cpu
        self._last, self._computed = clock(), cpu()
        self._allowance = 0.0

    def beat(self) -> None:
        """Show life."""
        with self._lock:
            self._last, self._computed = self._clock(), self._cpu()

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
                self._last, self._computed = self._clock(), self._cpu()

    def age(self) -> float:
        """Seconds of silence beyond what was announced, and beyond what computing excuses; 0.0 and more."""
        with self._lock:
            silence = self._clock() - self._last
            computing = self._cpu() - self._computed >= COMPUTING_SHARE * silence
            return max(0.0, silence - max(self._allowance, COMPUTING_ALLOWANCE if computing else 0.0))
