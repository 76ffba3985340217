"""Memory that runs out while a picture is made: the job goes on with less, from its last step, and says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.client.base import EngineClient
from engine.jobs.rungs import Rungs
from engine.memory.levels import OptimizationLevel
from engine.protocol.commands import GetJob, GetStatus, SubmitJob
from engine.protocol.jobs import FINISHED, JobView
from engine.protocol.specs import GenerationSpec
from engine.server.local import LocalEngineClient
from tests.support.studio_data import make_settings

SPEC = GenerationSpec(prompt="a red apple", steps=6, width=64, height=64, seed=7, sampler="euler", upscale=1)


@contextmanager
def failing(kind: str, times: int) -> Iterator[list[int]]:
    """The first calls of every module of that class end as a full memory does; a list of how many calls there were."""
    from torch.nn.modules.module import register_module_forward_pre_hook

    calls = [0]

    def run_out(module: Any, given: Any) -> None:
        if type(module).__name__ == kind:
            calls[0] += 1
            if calls[0] <= times:
                raise MemoryError("made for the test")

    handle = register_module_forward_pre_hook(run_out)
    try:
        yield calls
    finally:
        handle.remove()


def made(folder: Path, spec: GenerationSpec, act: Callable[[], Any]) -> JobView:
    """The job of that spec on an engine of its own, with `act()` open from when the engine is ready."""

    async def whole() -> JobView:
        client: EngineClient = LocalEngineClient(make_settings(folder))
        try:
            while (await client.call(GetStatus())).state != "ready":
                await asyncio.sleep(0.05)
            with act():
                job = await client.call(SubmitJob(spec=spec))
                while (job := await client.call(GetJob(job_id=job.id))).status not in FINISHED:
                    await asyncio.sleep(0.05)
            return job
        finally:
            await client.close()

    return asyncio.run(asyncio.wait_for(whole(), 120))


def test_a_decode_that_does_not_fit_is_tried_with_less_and_no_step_is_repeated(tmp_path: Path) -> None:
    # The first call is a preview's, which the job does without.
    job = made(tmp_path, SPEC, lambda: failing("Decoder", 3))
    assert job.status == "done", job.error
    assert [notice.code for notice in job.notices if notice.code in ("memory_released", "decode_tiled")] == [
        "memory_released",
        "decode_tiled",
    ]
    assert job.evaluations == 6


def test_a_job_that_fits_nowhere_ends_with_one_sentence(tmp_path: Path) -> None:
    job = made(tmp_path, SPEC, lambda: failing("UNet2DConditionModel", 100))
    assert job.status == "failed"
    assert job.error is not None
    assert job.error.code == "out_of_memory"


def test_each_climb_is_harder_and_the_ladder_ends() -> None:
    rungs = Rungs()
    actions = [rungs.climb("a", "denoise", 4, OptimizationLevel.BALANCED).action for _ in range(14)]
    assert actions[0] == "release"
    assert "batch" in actions
    assert actions[-1] == "refuse"
    assert rungs.batch("a", 4) == 1
    assert rungs.tiled("a")
    rungs.forget("a")
    assert rungs.batch("a", 4) == 4
    assert rungs.tiled("a") is None
