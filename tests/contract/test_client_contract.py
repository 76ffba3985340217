"""What every EngineClient must do."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from engine.client.base import EngineClient
from engine.errors import AdapterError, ConflictError, ModelFileError, NotFoundError, SpecError
from engine.protocol.adapters import NamedStack
from engine.protocol.commands import (
    COMMANDS,
    CancelJob,
    CheckSpec,
    CheckStack,
    CompletePrompt,
    DeleteImages,
    EnlargeImage,
    GetAdapter,
    GetImage,
    GetJob,
    GetMetrics,
    GetStatus,
    GetValue,
    ListAdapters,
    ListJobs,
    ListModels,
    ListSamplers,
    ListStacks,
    LocateAsset,
    LocateImage,
    LocatePreview,
    PutAsset,
    ReadRecipe,
    RebuildHistory,
    RestoreImages,
    SaveStack,
    SearchHistory,
    SetValue,
    SubmitJob,
    SuggestAdapters,
)
from engine.protocol.events import Event
from engine.protocol.jobs import FINISHED, JobView
from engine.protocol.specs import AdapterRef, GenerationSpec
from tests.support.adapter_files import write_lora

Play = Callable[[Callable[[EngineClient], Coroutine[Any, Any, None]]], None]

SPEC = GenerationSpec(prompt="a red apple", steps=4, width=64, height=64, seed=7, sampler="euler")


async def ready(client: EngineClient) -> None:
    while (status := await client.call(GetStatus())).state != "ready":
        assert status.state != "failed", status.message
        await asyncio.sleep(0.1)


async def finished(client: EngineClient, job_id: str) -> JobView:
    await ready(client)
    while (job := await client.call(GetJob(job_id=job_id))).status not in FINISHED:
        await asyncio.sleep(0.05)
    return job


def test_a_picture_from_submit_to_history(play: Play) -> None:
    async def scenario(client: EngineClient) -> None:
        seen: list[Event] = []

        async def watch() -> None:
            async for event in client.events(after=0):
                seen.append(event)

        watcher = asyncio.create_task(watch())
        submitted = await client.call(SubmitJob(spec=SPEC, request_id="once"))
        again = await client.call(SubmitJob(spec=SPEC, request_id="once"))
        assert again.id == submitted.id
        assert submitted.spec.sampler == "euler"
        assert submitted.spec.negative_prompt is not None
        job = await finished(client, submitted.id)
        assert job.status == "done", job.error
        assert job.evaluations == 4
        (image,) = job.images
        assert (image.seed, image.width, image.height) == (7, 64, 64)
        assert "Steps: 4" in image.infotext

        file = await client.call(LocateImage(image_name=image.name))
        with open(file.path, "rb") as stream:
            data = stream.read()
        recipe = await client.call(ReadRecipe(data=base64.b64encode(data).decode()))
        assert recipe.source == "easel"
        assert recipe.spec == image.spec

        page = await client.call(SearchHistory(query="apple"))
        assert [found.id for found in page.images] == [image.id]
        assert (await client.call(SearchHistory(query="pear"))).total == 0
        await asyncio.sleep(0.2)
        watcher.cancel()
        kinds = {event.kind for event in seen}
        assert {"engine_state", "job", "progress", "preview", "image", "queue"} <= kinds
        numbers = [event.seq for event in seen if event.kind != "preview"]
        assert numbers == sorted(numbers)

    play(scenario)


def test_pictures_are_enlarged_as_they_are_made_and_later(play: Play) -> None:
    async def scenario(client: EngineClient) -> None:
        wanted = SPEC.model_copy(update={"upscale": 2})
        (large,) = (await finished(client, (await client.call(SubmitJob(spec=wanted))).id)).images
        assert (large.width, large.height, large.spec.width) == (128, 128, 64)
        assert "Postprocess upscale by: 2" in large.infotext
        assert large.spec.upscaler == "realesr-animevideov3"

        job = await client.call(EnlargeImage(image_id=large.id, factor=2))
        assert job.kind == "upscale"
        made = await finished(client, job.id)
        assert made.status == "done", made.error
        (larger,) = made.images
        assert (larger.width, larger.height, larger.seed) == (256, 256, 7)
        assert larger.id != large.id
        with Image.open((await client.call(LocateImage(image_name=larger.name))).path) as image:
            assert image.size == (256, 256)
        with pytest.raises(NotFoundError):
            await client.call(EnlargeImage(image_id="nobody", factor=2))
        with pytest.raises(NotFoundError):
            await client.call(EnlargeImage(image_id=large.id, factor=2, owner="somebody else"))
        for factor, code in ((3, "bad_request"), (4, "upscaler_unknown")):
            with pytest.raises(SpecError) as refusal:
                await client.call(EnlargeImage(image_id=large.id, factor=factor, upscaler="none of this name"))
            assert refusal.value.code == code

    play(scenario)


def test_the_same_spec_makes_the_same_picture_and_a_batch_changes_nothing(play: Play) -> None:
    async def scenario(client: EngineClient) -> None:
        batch = await client.call(SubmitJob(spec=SPEC.model_copy(update={"count": 3, "repeatable": True})))
        first = await finished(client, batch.id)
        assert [image.seed for image in first.images] == [7, 8, 9]
        alone = await finished(client, (await client.call(SubmitJob(spec=first.images[2].spec))).id)
        files = [await client.call(LocateImage(image_name=image.name)) for image in (first.images[2], alone.images[0])]
        pixels = [Image.open(file.path).convert("RGB").tobytes() for file in files]
        assert pixels[0] == pixels[1]

    play(scenario)


def test_bad_specs_are_refused_with_a_code_before_anything_is_stored(play: Play) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"steps": 0}, "steps_out_of_range"),
        ({"width": 13}, "size_out_of_range"),
        ({"width": 100}, "size_not_multiple"),
        ({"height": 10_000}, "size_out_of_range"),
        ({"prompt": "  "}, "prompt_empty"),
        ({"prompt": "?!... ,,"}, "prompt_no_words"),
        ({"prompt": "x" * 100_000}, "prompt_too_long"),
        ({"sampler": "eulr"}, "sampler_unknown"),
        ({"schedule": "karas", "sampler": "euler"}, "schedule_unknown"),
        ({"guidance": 99.0}, "guidance_out_of_range"),
        ({"count": 0}, "count_out_of_range"),
        ({"seed": -1}, "seed_out_of_range"),
        ({"model": "tiny-sd"}, "model_unknown"),
        ({"vae": "nope"}, "vae_unknown"),
        ({"styles": ("nope",)}, "style_unknown"),
    ]

    async def scenario(client: EngineClient) -> None:
        await ready(client)
        for change, code in cases:
            with pytest.raises((SpecError, ModelFileError)) as caught:
                await client.call(SubmitJob(spec=SPEC.model_copy(update=change)))
            assert caught.value.code == code, change
            assert caught.value.message
        assert (await client.call(ListJobs())).jobs == ()

    play(scenario)


def test_brackets_by_the_hundred_are_no_trouble(play: Play) -> None:
    async def scenario(client: EngineClient) -> None:
        await ready(client)
        checked = await client.call(CheckSpec(spec=SPEC.model_copy(update={"prompt": "(" * 200 + "cat"})))
        assert checked.id == ""
        assert checked.spec.seed == 7

    play(scenario)


def test_a_job_is_canceled_and_another_owner_cannot_see_it(play: Play) -> None:
    async def scenario(client: EngineClient) -> None:
        await ready(client)
        long = await client.call(SubmitJob(spec=SPEC.model_copy(update={"steps": 150, "count": 4}), owner="ann"))
        waiting = await client.call(SubmitJob(spec=SPEC, owner="ann"))
        with pytest.raises(NotFoundError) as caught:
            await client.call(GetJob(job_id=long.id, owner="bob"))
        assert caught.value.code == "job_unknown"
        with pytest.raises(NotFoundError):
            await client.call(CancelJob(job_id=long.id, owner="bob"))
        await client.call(CancelJob(job_id=long.id, owner="ann"))
        while (ended := await client.call(GetJob(job_id=long.id, owner="ann"))).status == "running":
            await asyncio.sleep(0.05)
        assert ended.status == "canceled"
        with pytest.raises(ConflictError) as again:
            await client.call(CancelJob(job_id=long.id, owner="ann"))
        assert again.value.code == "job_already_finished"
        while (after := await client.call(GetJob(job_id=waiting.id, owner="ann"))).status not in FINISHED:
            await asyncio.sleep(0.05)
        assert after.status == "done"

    play(scenario)


def test_one_picture_of_a_job_is_skipped_and_the_others_are_made(play: Play) -> None:
    async def scenario(client: EngineClient) -> None:
        job = await client.call(SubmitJob(spec=SPEC.model_copy(update={"count": 3, "batch_size": 1})))
        await client.call(CancelJob(job_id=job.id, job_index=2))
        done = await finished(client, job.id)
        assert done.status == "done"
        assert [image.job_index for image in done.images] == [0, 1]

    play(scenario)


def test_deleted_pictures_come_back_and_the_history_is_rebuilt_from_files(play: Play) -> None:
    async def scenario(client: EngineClient) -> None:
        job = await finished(client, (await client.call(SubmitJob(spec=SPEC))).id)
        (image,) = job.images
        assert (await client.call(DeleteImages(image_ids=(image.id,)))).count == 1
        assert (await client.call(SearchHistory())).total == 0
        with pytest.raises(NotFoundError):
            await client.call(LocateImage(image_name=image.name))
        assert (await client.call(RestoreImages(image_ids=(image.id,)))).count == 1
        assert (await client.call(RebuildHistory())).count == 0, "the picture is known already"
        assert (await client.call(GetImage(image_id=image.id))).spec == image.spec

    play(scenario)


def test_library_values_assets_and_metrics(play: Play) -> None:
    async def scenario(client: EngineClient) -> None:
        await ready(client)
        models = await client.call(ListModels(refresh=True))
        assert "tiny-sd1" in [model.id for model in models.models]
        samplers = {view.id: view for view in (await client.call(ListSamplers())).samplers}
        assert {"ddim", "euler", "euler_a", "dpmpp_2m", "heun", "lcm", "unipc"} <= set(samplers)
        await client.call(SetValue(owner="ann", key="txt2img.form", value={"steps": 9}))
        assert (await client.call(GetValue(owner="ann", key="txt2img.form"))).value == {"steps": 9}
        assert (await client.call(GetValue(owner="bob", key="txt2img.form"))).value is None
        buffer = io.BytesIO()
        Image.new("RGB", (8, 4), "red").save(buffer, "PNG")
        asset = await client.call(PutAsset(data=base64.b64encode(buffer.getvalue()).decode()))
        assert (asset.width, asset.height) == (8, 4)
        assert (await client.call(LocateAsset(ref=asset.ref))).media_type == "image/png"
        with pytest.raises(SpecError) as caught:
            await client.call(PutAsset(data=base64.b64encode(b"no picture").decode()))
        assert caught.value.code == "image_unreadable"
        assert "easel_" in (await client.call(GetMetrics())).text

    play(scenario)


def test_adapters_from_the_library_to_a_stack(play: Play, tmp_path: Path) -> None:
    async def scenario(client: EngineClient) -> None:
        await ready(client)
        folder = tmp_path / "models" / "loras"
        write_lora(folder / "ink.safetensors", metadata={"modelspec.trigger_phrase": "ink wash"})
        page = await client.call(ListAdapters(query="ink wash", refresh=True))
        assert [view.id for view in page.adapters] == ["ink"]
        assert (await client.call(GetAdapter(adapter_id="ink.safetensors"))).view.id == "ink"
        with pytest.raises(NotFoundError) as caught:
            await client.call(LocatePreview(adapter_id="ink"))
        assert caught.value.code == "preview_unknown"
        rows = (AdapterRef(name="ink", unet_weight=0.5),)
        report = (await client.call(CheckStack(adapters=rows))).reports[0]
        assert (report.id, report.matched, report.total, report.usable) == ("ink", 2, 2, True)
        found = (await client.call(SuggestAdapters(prompt="a hill, ink wash"))).suggestions
        assert [each.adapter.id for each in found] == ["ink"]
        words = (await client.call(CompletePrompt(prefix="ink w"))).completions
        assert ("ink wash", "trigger") in [(word.text, word.kind) for word in words]
        stack = NamedStack(name="Mine", adapters=rows)
        assert (await client.call(SaveStack(owner="ann", stack=stack))).stacks == (stack,)
        assert (await client.call(ListStacks(owner="bob"))).stacks == ()
        assert (await client.call(SaveStack(owner="ann", stack=stack, delete=True))).stacks == ()
        checked = await client.call(CheckSpec(spec=SPEC.model_copy(update={"adapters": rows})))
        assert checked.spec.prompt == "a red apple, ink wash"
        heavy = (AdapterRef(name="ink", unet_weight=1e9),)
        with pytest.raises(AdapterError) as wrong:
            await client.call(CheckSpec(spec=SPEC.model_copy(update={"adapters": heavy})))
        assert wrong.value.code == "adapter_weight_out_of_range"

    play(scenario)


def test_every_command_has_an_answer() -> None:
    import tempfile

    from engine.server.runtime import Runtime
    from engine.settings import parse_settings

    with tempfile.TemporaryDirectory() as folder:
        runtime = Runtime(parse_settings({"paths": {"data": folder}}))
        assert runtime.dispatch.commands == set(COMMANDS.values())
        runtime.stop()


def test_a_prompt_of_too_many_tokens_is_refused_before_it_waits(play: Play) -> None:
    async def scenario(client: EngineClient) -> None:
        await ready(client)
        with pytest.raises(SpecError) as refusal:
            await client.call(SubmitJob(spec=SPEC.model_copy(update={"prompt": "a, " * 5000})))
        assert refusal.value.code == "prompt_too_long"
        assert (await client.call(ListJobs())).jobs == ()

    play(scenario)
