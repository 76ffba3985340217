"""Metrics: what the engine counts, in Prometheus' text format.

Its own `CollectorRegistry`, so that several engines in one process (tests) do not share numbers. Percentiles
come from the histograms. Safe from every thread.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000)
_RATES = (0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128)
_BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)


class Metrics:
    """One registry and the verbs that fill it."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._generation = Histogram(
            "easel_generation_seconds",
            "Seconds from the start of a picture to its file.",
            registry=registry,
            buckets=_SECONDS,
        )
        self._rate = Histogram(
            "easel_steps_per_second", "Denoising steps per second of a picture.", registry=registry, buckets=_RATES
        )
        self._stages = Histogram(
            "easel_stage_seconds", "Seconds in a stage.", ["stage"], registry=registry, buckets=_SECONDS
        )
        self._waits = Histogram(
            "easel_queue_wait_seconds", "Seconds from submit to start.", registry=registry, buckets=_SECONDS
        )
        self._evaluations = Counter("easel_evaluations", "UNet evaluations, summed over pictures.", registry=registry)
        self._calls = Histogram(
            "easel_unet_call_seconds", "Seconds of one UNet call.", registry=registry, buckets=_SECONDS
        )
        self._batches = Histogram(
            "easel_unet_batch_size", "Pictures that shared one UNet call.", registry=registry, buckets=_BATCHES
        )
        self._lookups = Counter(
            "easel_cache_lookups", "Cache look-ups by outcome.", ["cache", "outcome"], registry=registry
        )
        self._finished = Counter("easel_jobs_finished", "Jobs by how they ended.", ["status"], registry=registry)
        self._jobs = Gauge("easel_jobs", "Jobs in the store by status.", ["status"], registry=registry)
        self._memory = Gauge("easel_memory_bytes", "Memory in use by kind.", ["kind"], registry=registry)

    def picture(self, seconds: float, steps: int) -> None:
        """A picture was saved after `seconds`, which had `steps` denoising steps."""
        self._generation.observe(seconds)
        if seconds > 0:
            self._rate.observe(steps / seconds)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage ("load", "encode", "decode", "save"); its time counts when it fails too."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.stage_took(name, time.perf_counter() - began)

    def stage_took(self, name: str, seconds: float) -> None:
        """A stage was timed elsewhere."""
        self._stages.labels(stage=name).observe(seconds)

    def queue_wait(self, seconds: float) -> None:
        """A job started `seconds` after it was submitted."""
        self._waits.observe(seconds)

    def evaluation(self, pictures: int, seconds: float) -> None:
        """One UNet call for `pictures` contexts took `seconds`."""
        self._evaluations.inc(pictures)
        self._batches.observe(pictures)
        self._calls.observe(seconds)

    def cache(self, name: str, hit: bool) -> None:
        """A cache ("embeddings", "models", …) was asked."""
        self._lookups.labels(cache=name, outcome="hit" if hit else "miss").inc()

    def job_finished(self, status: str) -> None:
        """A job ended: done, failed or canceled."""
        self._finished.labels(status=status).inc()

    def set_jobs(self, counts: Mapping[str, int]) -> None:
        """How many jobs the store holds, by status; a status that is missing counts as none."""
        self._jobs.clear()
        for status, count in counts.items():
            self._jobs.labels(status=status).set(count)

    def set_memory(self, sizes: Mapping[str, int]) -> None:
        """Bytes in use by kind: "pool", "ram", "vram"."""
        for kind, size in sizes.items():
            self._memory.labels(kind=kind).set(size)

    def render(self) -> str:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry).decode("utf-8")
