"""MemoryMonitor: watches memory while something runs; a timeline with a fixed length, the peak, and a hint at leaks."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import TracebackType
from typing import Protocol

from engine.memory.meter import Meter, ProcessMeter, Usage
from engine.memory.sizes import GIB, MIB, in_words

LENGTH = 3600
LEAK_RESTS = 5
LEAK_BYTES = 32 * MIB


@dataclass(frozen=True)
class Sample:
    """Memory at one moment. `at`: seconds; `mark`: what happened then, "" for nothing; `pool`: bytes in the pool, and
    `parts` those of each kind of part."""

    at: float
    usage: Usage
    mark: str = ""
    pool: int = 0
    parts: Mapping[str, int] = field(default_factory=dict)


class Timeline:
    """The newest samples, oldest first; older ones fall out."""

    def __init__(self, length: int = LENGTH) -> None:
        self._samples: deque[Sample] = deque(maxlen=length)

    def add(
        self,
        usage: Usage,
        *,
        at: float | None = None,
        mark: str = "",
        pool: int = 0,
        parts: Mapping[str, int] | None = None,
    ) -> Sample:
        """Keep a sample; `at` is now where it is None."""
        sample = Sample(time.monotonic() if at is None else at, usage, mark, pool, parts or {})
        self._samples.append(sample)
        return sample

    def samples(self, most: int | None = None) -> tuple[Sample, ...]:
        """All that are kept, or about `most`, evenly chosen; marked ones and the newest are always among them."""
        kept = tuple(self._samples)
        if most is None or len(kept) <= most:
            return kept
        every = len(kept) / max(1, most)
        chosen = {int(index * every) for index in range(most)} | {len(kept) - 1}
        return tuple(sample for index, sample in enumerate(kept) if index in chosen or sample.mark)


class _HasCleanup(Protocol):
    def cleanup(self) -> None: ...


class MemoryMonitor:
    """Measures what runs inside its `with`; sampled beside it by a small thread, because RAM keeps no peak of its own.

    Args:
        optimizer: whose `cleanup()` is called at the end, also after an error; None cleans nothing.
        meter: measures; the process itself where it is None.
        interval: seconds between samples; 0 samples at the begin and the end only (and by `sample()`).
        on_sample: called with every sample.
    """

    def __init__(
        self,
        optimizer: _HasCleanup | None = None,
        *,
        meter: Meter | None = None,
        interval: float = 0.05,
        length: int = LENGTH,
        on_sample: Callable[[Sample], None] | None = None,
    ) -> None:
        own = getattr(optimizer, "meter", None)
        self._optimizer = optimizer
        self._meter: Meter = meter or own or ProcessMeter()
        self._interval = interval
        self._on_sample = on_sample
        self.timeline = Timeline(length)
        self._peak = Usage()
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> MemoryMonitor:
        self._meter.reset_peak()
        self._peak = Usage()
        self._done.clear()
        self.sample("begin")
        if self._interval > 0:
            self._thread = threading.Thread(target=self._watch, name="easel-memory-monitor", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.sample("end" if kind is None else "failed")
        if self._optimizer is not None:
            self._optimizer.cleanup()
            self.sample("cleaned")

    def sample(self, mark: str = "") -> Sample:
        """Measure now, whoever calls."""
        usage = self._meter.now()
        vram = max(usage.vram, self._meter.peak_vram()) if usage.vram or usage.reserved else usage.vram
        self._peak = Usage(
            max(self._peak.vram, vram),
            max(self._peak.reserved, usage.reserved),
            max(self._peak.ram, usage.ram),
        )
        sample = self.timeline.add(usage, mark=mark)
        if self._on_sample is not None:
            self._on_sample(sample)
        return sample

    @property
    def peak(self) -> Usage:
        """The most of each kind since the `with` began, in bytes."""
        vram = max(self._peak.vram, self._meter.peak_vram())
        return Usage(vram, max(self._peak.reserved, vram), self._peak.ram)

    @property
    def peak_vram(self) -> float:
        """Most VRAM in GB; 0.0 without a GPU."""
        return self.peak.vram / GIB

    @property
    def peak_ram(self) -> float:
        """Most RAM private to this process, in GB."""
        return self.peak.ram / GIB

    def get_peak_memory(self) -> float:
        """Most memory where models compute, in GB: VRAM, or RAM without a GPU."""
        return self.peak_vram or self.peak_ram

    def _watch(self) -> None:
        while not self._done.wait(self._interval):
            self.sample()


def leak_hint(resting: Sequence[int], *, rests: int = LEAK_RESTS, least: int = LEAK_BYTES) -> str:
    """A sentence where memory seems to leak, "" where it does not.

    Args:
        resting: bytes in use after each job, when everything that could be released was; oldest first.
        rests: so many rests in a row must each have held more than the one before.
        least: and all of them together at least so many bytes.
    """
    last = list(resting)[-(rests + 1) :]
    if len(last) <= rests or any(later <= earlier for earlier, later in pairwise(last)):
        return ""
    grown = last[-1] - last[0]
    if grown < least:
        return ""
    return f"Memory at rest has grown after each of the last {rests} jobs, by {in_words(grown)} together."
