"""Four people with four stacks at once, through the whole engine: they share UNet calls and get their own pictures."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
from PIL import Image

from engine.protocol.commands import GetJob, GetMetrics, GetStatus, SubmitJob
from engine.protocol.jobs import JobView
from engine.protocol.specs import AdapterRef, GenerationSpec
from engine.server.local import LocalEngineClient
from tests.support.studio_data import TINY, make_settings
from tests.support.tiny_adapters import write_tiny_lora

STEPS = 30
SPEC = GenerationSpec(prompt="a fox", steps=STEPS, width=64, height=64, seed=3, sampler="euler", guidance=3.0)


async def number(client: LocalEngineClient, name: str) -> float:
    text = (await client.call(GetMetrics())).text
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"{name} "))


async def finished(client: LocalEngineClient, job: JobView) -> JobView:
    while job.status in ("queued", "running"):
        await asyncio.sleep(0.02)
        job = await client.call(GetJob(job_id=job.id))
    assert job.status == "done", job.error
    return job


def test_four_stacks_make_fewer_calls_than_evaluations_and_the_pictures_that_they_make_alone(tmp_path: Path) -> None:
    names = [f"lora{seed}" for seed in range(4)]
    settings = make_settings(tmp_path)
    for seed, name in enumerate(names):
        model = settings.models_dir / "checkpoints" / TINY
        write_tiny_lora(settings.models_dir / "loras" / f"{name}.safetensors", model, seed=seed)
    specs = [SPEC.model_copy(update={"adapters": (AdapterRef(name=name, unet_weight=0.7),)}) for name in names]

    def pixels(job: JobView) -> np.ndarray:  # type: ignore[type-arg]
        return np.asarray(Image.open(settings.outputs_dir / job.images[0].name).convert("RGB"), dtype=np.int16)

    async def story() -> None:
        client = LocalEngineClient(settings)
        try:
            while (await client.call(GetStatus())).state != "ready":
                await asyncio.sleep(0.05)
            alone = [pixels(await finished(client, await client.call(SubmitJob(spec=spec)))) for spec in specs]
            before = await number(client, "easel_unet_call_seconds_count")
            jobs = [await client.call(SubmitJob(spec=spec)) for spec in specs]
            together = [pixels(await finished(client, job)) for job in jobs]
            calls = await number(client, "easel_unet_call_seconds_count") - before
            assert await number(client, "easel_evaluations_total") == 8 * STEPS
            assert before == 4 * STEPS
            assert calls < 4 * STEPS, "at latents of 8 × 8 one call is tried first"
            for one, other in zip(alone, together, strict=True):
                assert int(np.abs(one - other).max()) <= 1
            assert int(np.abs(alone[0] - alone[1]).max()) > 10
        finally:
            await client.close()

    asyncio.run(asyncio.wait_for(story(), 180))
