"""An engine inside the test, with its worker's objects at hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.protocol.commands import GetJob, GetStatus, SubmitJob
from engine.protocol.jobs import FINISHED, JobView
from engine.protocol.memory import MemoryView
from engine.protocol.memory_commands import GetMemory, SetLevel
from engine.protocol.specs import GenerationSpec
from engine.server.local import LocalEngineClient
from engine.settings import Settings
from tests.support.studio_data import make_settings

PATIENCE = 120.0


class Studio:
    """A local engine, asked step by step from a test without `async`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._loop = asyncio.new_event_loop()
        self.client = LocalEngineClient(settings)
        self.wait(self._is_ready)

    def _is_ready(self) -> bool:
        state = self.call(GetStatus()).state
        assert state != "failed"
        return state == "ready"

    @property
    def worker(self) -> Any:
        return self.client._runtime._stop_worker.__self__  # type: ignore[union-attr]

    @property
    def bench(self) -> Any:
        return self.worker._bench

    @property
    def pool(self) -> Any:
        return self.bench._pool

    @property
    def desk(self) -> Any:
        return self.client._runtime.memory

    def call(self, command: Any) -> Any:
        return self._loop.run_until_complete(self.client.call(command))

    def wait(self, until: Callable[[], bool], patience: float = PATIENCE) -> None:
        end = time.monotonic() + patience
        while not until():
            assert time.monotonic() < end, "this takes too long"
            time.sleep(0.01)

    def submit(self, spec: GenerationSpec) -> JobView:
        return self.call(SubmitJob(spec=spec))

    def ended(self, job: JobView) -> JobView:
        self.wait(lambda: self.call(GetJob(job_id=job.id)).status in FINISHED)
        return self.call(GetJob(job_id=job.id))

    def make(self, spec: GenerationSpec) -> JobView:
        return self.ended(self.submit(spec))

    def picture(self, job: JobView) -> Any:
        import numpy as np
        from PIL import Image

        assert job.status == "done", job.error
        with Image.open(self.settings.outputs_dir / job.images[0].name) as image:
            return np.asarray(image).astype("float64") / 255

    def level(self, name: str) -> None:
        self.call(SetLevel(level=name))

    def memory(self) -> MemoryView:
        return self.call(GetMemory())

    def idle(self) -> None:
        """Nothing is in progress, and the leases are back."""
        self.wait(lambda: not self.worker._pictures and not any(entry.leases for entry in self.pool.entries()))

    def close(self) -> None:
        self._loop.run_until_complete(self.client.close())
        self._loop.close()


@contextmanager
def studio_on(settings: Settings) -> Iterator[Studio]:
    studio = Studio(settings)
    try:
        yield studio
    finally:
        studio.close()


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """One engine with a tiny model for all tests of a file."""
    folder: Path = tmp_path_factory.mktemp("studio")
    with studio_on(make_settings(folder)) as opened:
        yield opened
