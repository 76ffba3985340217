"""The engine is killed for real, at bad moments; nothing is lost and nothing is saved twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from engine.client.base import IDLE_SECONDS, EngineClient
from engine.client.http import HttpEngineClient
from engine.errors import EngineLostError
from engine.protocol.commands import GetJob, GetMetrics, GetStatus, SearchHistory, SubmitJob
from engine.protocol.events import Event
from engine.protocol.jobs import FINISHED, JobView
from engine.protocol.specs import GenerationSpec
from tests.support.engine_process import running_engine
from tests.support.studio_data import make_data

STEPS = 120
SPEC = GenerationSpec(prompt="a red apple", steps=STEPS, width=64, height=64, seed=7, sampler="euler_a", guidance=5.0)


async def until_finished(client: EngineClient, job_id: str) -> JobView:
    while (job := await client.call(GetJob(job_id=job_id))).status not in FINISHED:
        await asyncio.sleep(0.05)
    return job


async def until_step(client: EngineClient, job_id: str, step: int) -> None:
    while (job := await client.call(GetJob(job_id=job_id))).progress.step < step:
        assert job.status in ("queued", "running"), job.error
        await asyncio.sleep(0.02)


def pixels(data: Path, name: str) -> bytes:
    from PIL import Image

    return Image.open(data / "outputs" / name).convert("RGB").tobytes()


async def evaluations(client: EngineClient) -> float:
    text = (await client.call(GetMetrics())).text
    lines = [line for line in text.splitlines() if line.startswith("easel_evaluations_total")]
    return sum(float(line.split()[-1]) for line in lines)


def test_a_killed_engine_goes_on_from_the_snapshot_and_the_queue_is_kept(tmp_path: Path) -> None:
    config = make_data(tmp_path, snapshot=0.05)

    async def story() -> None:
        async with running_engine(tmp_path, config) as (process, client):
            running = await client.call(SubmitJob(spec=SPEC))
            queued = await client.call(SubmitJob(spec=SPEC.model_copy(update={"steps": 3, "seed": 8})))
            await until_step(client, running.id, 40)
            process.kill()
            with pytest.raises(EngineLostError):
                await client.call(GetStatus())
        async with running_engine(tmp_path, config) as (_, client):
            job = await until_finished(client, running.id)
            assert job.status == "done", job.error
            assert any(notice.code == "resumed" for notice in job.notices)
            assert len(job.images) == 1
            later = await until_finished(client, queued.id)
            assert later.status == "done", later.error
            ran = await evaluations(client)
            assert 3 < ran < STEPS + 3 - 20, "the second run did the whole work again"
            assert (await client.call(SearchHistory())).total == 2

            whole = await until_finished(client, (await client.call(SubmitJob(spec=job.images[0].spec))).id)
            assert pixels(tmp_path, whole.images[0].name) == pixels(tmp_path, job.images[0].name)

    asyncio.run(asyncio.wait_for(story(), 240))


@pytest.mark.parametrize("pictures_before", [1, 3])
def test_killed_between_pictures_saves_each_exactly_once(tmp_path: Path, pictures_before: int) -> None:
    config = make_data(tmp_path, snapshot=0.05)
    spec = SPEC.model_copy(update={"steps": 6, "count": 5, "batch_size": 1})

    async def count_images(client: HttpEngineClient, wanted: int, job_id: str) -> None:
        async def read() -> None:
            seen: list[Event] = []
            async for event in client.events(after=0):
                if event.kind == "image":
                    seen.append(event)
                    if len(seen) == wanted:
                        return

        await asyncio.wait_for(read(), 60)

    async def story() -> None:
        async with running_engine(tmp_path, config) as (process, client):
            job = await client.call(SubmitJob(spec=spec))
            await count_images(client, pictures_before, job.id)
            process.kill()
        async with running_engine(tmp_path, config) as (_, client):
            done = await until_finished(client, job.id)
            assert done.status == "done", done.error
            assert [image.job_index for image in done.images] == [0, 1, 2, 3, 4]
            assert [image.seed for image in done.images] == [7, 8, 9, 10, 11]
            files = sorted(file.name for file in (tmp_path / "outputs").glob("*.png"))
            assert files == sorted(image.name for image in done.images)

    asyncio.run(asyncio.wait_for(story(), 240))


def test_a_job_that_kills_the_engine_every_time_is_set_aside(tmp_path: Path) -> None:
    config = make_data(tmp_path, snapshot=0.0)

    async def story() -> None:
        async with running_engine(tmp_path, config) as (process, client):
            poison = await client.call(SubmitJob(spec=SPEC.model_copy(update={"steps": 150})))
            await until_step(client, poison.id, 1)
            process.kill()
        for _ in range(2):
            async with running_engine(tmp_path, config) as (process, client):
                await until_step(client, poison.id, 1)
                process.kill()
        async with running_engine(tmp_path, config) as (_, client):
            job = await until_finished(client, poison.id)
            assert job.status == "failed"
            assert job.error is not None
            assert job.error.code == "job_gave_up"
            fine = await client.call(SubmitJob(spec=SPEC.model_copy(update={"steps": 2})))
            assert (await until_finished(client, fine.id)).status == "done"

    asyncio.run(asyncio.wait_for(story(), 240))


def test_an_engine_whose_parent_is_gone_leaves_and_keeps_the_work(tmp_path: Path) -> None:
    config = make_data(tmp_path)

    async def story() -> None:
        async with running_engine(tmp_path, config) as (process, client):
            job = await client.call(SubmitJob(spec=SPEC.model_copy(update={"steps": 150})))
            await until_step(client, job.id, 3)
            assert await asyncio.to_thread(process.let_go) == 0
        async with running_engine(tmp_path, config) as (_, client):
            done = await until_finished(client, job.id)
            assert done.status == "done"
            assert any(notice.code == "resumed" for notice in done.notices)

    asyncio.run(asyncio.wait_for(story(), 240))


def test_without_the_token_there_is_no_answer(tmp_path: Path) -> None:
    config = make_data(tmp_path)

    async def story() -> None:
        async with running_engine(tmp_path, config) as (process, _):
            stranger = HttpEngineClient(process.url, "wrong")
            with pytest.raises(EngineLostError) as caught:
                await stranger.call(GetStatus())
            assert caught.value.code == "engine_token_wrong"
            await stranger.close()

    asyncio.run(asyncio.wait_for(story(), 120))


def test_the_engine_keeps_an_idle_connection_longer_than_its_client(tmp_path: Path) -> None:
    """Were both to let go after the same 5 s, a call in that instant would find the line closed and fail."""
    config = make_data(tmp_path)

    async def story() -> None:
        limits = httpx.Limits(keepalive_expiry=None)
        async with (
            running_engine(tmp_path, config) as (process, _),
            httpx.AsyncClient(base_url=process.url, limits=limits, trust_env=False) as http,
        ):
            ports = []
            for pause in (0.0, IDLE_SECONDS + 1.5):
                await asyncio.sleep(pause)
                answer = await http.get("/heartbeat")
                ports.append(answer.extensions["network_stream"].get_extra_info("client_addr")[1])
            assert ports[0] == ports[1]

    asyncio.run(asyncio.wait_for(story(), 120))
