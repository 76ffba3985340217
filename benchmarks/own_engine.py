"""An engine in this process on a data folder of its own, without page and REST, for the benchmarks of memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

ASK_SECONDS = 0.05


def settings_of(data: Path, level: str, dtype: str, *, model: str, device: str = "cpu") -> Any:
    """Settings of an engine on a data folder of its own."""
    from engine.settings import parse_settings

    return parse_settings(
        {
            "engine": {"default_model": model, "device": device, "dtype": dtype, "preview_interval": 0},
            "memory": {"level": level, "pool_gb": 0.0},
            "paths": {"data": str(data), "outputs": f"outputs-{level}-{dtype}"},
        }
    )


def with_engine(settings: Any, act: Callable[[Any], Awaitable[Any]]) -> Any:
    """The answer of `act(client)` with an engine in this process."""
    from engine.server.local import LocalEngineClient

    async def whole() -> Any:
        client = LocalEngineClient(settings)
        try:
            return await act(client)
        finally:
            await client.close()

    return asyncio.run(whole())


def spec_of(*, prompt: str, seed: int = 1, side: int, steps: int, batch: int = 1) -> Any:
    """Square pictures, `batch` at once, as the benchmarks of memory ask for them."""
    from engine.protocol.specs import GenerationSpec

    return GenerationSpec(
        prompt=prompt,
        width=side,
        height=side,
        steps=steps,
        seed=seed,
        guidance=7.0,
        sampler="dpmpp_2m",
        count=batch,
        batch_size=batch,
    )


async def paint(client: Any, spec: Any) -> None:
    """One job, waited for. Raises RuntimeError where it failed."""
    from engine.protocol.commands import GetJob, SubmitJob
    from engine.protocol.jobs import FINISHED

    job = await client.call(SubmitJob(spec=spec))
    while job.status not in FINISHED:
        await asyncio.sleep(ASK_SECONDS)
        job = await client.call(GetJob(job_id=job.id))
    if job.status != "done":
        raise RuntimeError(f"the picture failed: {job.error}")
