"""What the engine half of an extension does to real pictures: prompts, samplers, post-processing, readers."""

from __future__ import annotations

import asyncio
import base64
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from engine.protocol.commands import GetJob, ListSamplers, ReadRecipe, SetValue, SubmitJob
from engine.protocol.extensions import ListEngineHalves
from engine.protocol.jobs import JobView
from engine.protocol.specs import GenerationSpec
from engine.server.runtime import Runtime
from tests.engine.server.test_extension_halves import write
from tests.support.studio_data import make_settings

CODE = """
from diffusers import DDIMScheduler
from engine.protocol.library import SamplerView, ScheduleView

def register(host):
    host.prompt_pass(lambda prompt, values: prompt + ", " + str(host.setting("mood", "calm")), order=1)
    host.prompt_pass(grumble, order=2)
    host.step_hook(after=brighter)
    host.step_hook(before=stumble)
    host.image_post_processor(upside_down, order=1)
    host.image_post_processor(lambda image, spec: None, order=2)
    view = SamplerView(
        id="mine", title="Mine", schedules=(ScheduleView(id="automatic", title="Automatic"),), advised_steps=(1, 9),
        advice="Try it.",
    )
    host.sampler(view, lambda schedule, config, seed: DDIMScheduler.from_config(config))
    host.metadata_reader("Scribbler", read)

def grumble(prompt, values):
    raise RuntimeError("no " + values.get("word", "words"))

def brighter(rows, answers):
    for picture in rows.pictures:
        answers[picture.rows] *= picture.spec.ext.get("mine", {}).get("strength", 1.0)
    return answers

def stumble(rows):
    rows.latents.zero_()
    if any("stumble" in picture.spec.ext.get("mine", {}) for picture in rows.pictures):
        raise KeyError("rope")

def upside_down(image, spec):
    return image.rotate(180).resize((image.width * 2, image.height))

def read(texts):
    return {"prompt": texts["scribble"], "steps": 3} if "scribble" in texts else None
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    folder = tmp_path_factory.mktemp("engine")
    write(folder / "extensions", "mine", CODE)
    runtime = Runtime(make_settings(folder), extensions=folder / "extensions")
    runtime.start()
    yield runtime
    runtime.stop()


def call(engine: Runtime, command: Any) -> Any:
    return asyncio.run(engine.dispatch.call(command))


def make(engine: Runtime, **spec: Any) -> JobView:
    given = {"prompt": "a hill", "width": 64, "height": 64, "steps": 2, "seed": 3, **spec}
    job: JobView = call(engine, SubmitJob(spec=GenerationSpec.model_validate(given)))
    while job.status not in ("done", "failed"):
        time.sleep(0.05)
        job = call(engine, GetJob(job_id=job.id))
    assert job.status == "done", job.error
    return job


def picture(engine: Runtime, job: JobView) -> Image.Image:
    return Image.open(engine.settings.outputs_dir / job.images[0].name)


def test_a_prompt_that_comes_before_the_extensions_waits_for_them(engine: Runtime) -> None:
    """The first job is sent while the engine is still warming up."""
    job = make(engine)
    assert job.spec.prompt == "a hill, calm"


def test_the_pass_asks_for_the_persons_setting(engine: Runtime) -> None:
    call(engine, SetValue(key="ext.mine", value={"mood": "stormy"}))
    assert make(engine).spec.prompt == "a hill, stormy"


def test_what_fails_is_told_and_the_job_goes_on(engine: Runtime) -> None:
    job = make(engine, ext={"mine": {"word": "tea"}})
    failed = [notice.message for notice in job.notices if notice.code == "extension_failed"]
    assert any("RuntimeError: no tea" in text and "engine_side.py, line" in text for text in failed)
    assert any("gave back no picture" in text for text in failed)
    applied = [notice.message for notice in job.notices if notice.code == "extension_applied"]
    assert len(applied) == 2


def test_a_step_hook_changes_the_pictures_that_ask_for_it(engine: Runtime) -> None:
    plain, strong, again = (
        picture(engine, make(engine, ext=ext)).tobytes() for ext in ({}, {"mine": {"strength": 1.5}}, {})
    )
    assert plain == again != strong


def test_a_step_hook_that_fails_changes_nothing_and_is_told(engine: Runtime) -> None:
    job = make(engine, ext={"mine": {"stumble": True}})
    assert picture(engine, job).tobytes() == picture(engine, make(engine)).tobytes()
    assert any("failed in a step" in notice.message and "rope" in notice.message for notice in job.notices)


def test_the_finished_picture_is_changed_and_recorded_as_it_is(engine: Runtime) -> None:
    job = make(engine, sampler="mine")
    image = picture(engine, job)
    assert image.size == (128, 64) == (job.images[0].width, job.images[0].height)


def test_a_sampler_of_an_extension_paints_as_its_scheduler_does(engine: Runtime) -> None:
    assert "Mine" in [view.title for view in call(engine, ListSamplers()).samplers]
    mine, own = (picture(engine, make(engine, sampler=name)) for name in ("Mine", "ddim"))
    assert mine.tobytes() == own.tobytes()
    assert mine.tobytes() != picture(engine, make(engine, sampler="euler_a")).tobytes()


def test_pictures_of_another_program_are_read(engine: Runtime) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("scribble", "a boat")
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG", pnginfo=texts)
    recipe = call(engine, ReadRecipe(data=base64.b64encode(file.getvalue()).decode()))
    assert (recipe.source, recipe.spec.prompt, recipe.spec.steps) == ("Scribbler", "a boat", 3)


def test_the_card_says_all_of_it(engine: Runtime) -> None:
    (half,) = call(engine, ListEngineHalves()).halves
    assert half.adds == (
        "a prompt pass",
        "a hook around each step",
        "a post-processor",
        "the sampler Mine",
        "pictures of Scribbler",
    )


@pytest.mark.parametrize("taken", ["Euler", "k_euler", ""])
def test_a_sampler_whose_name_is_taken_breaks_its_half_only(tmp_path: Path, taken: str) -> None:
    from engine.sampling.table import sampler_views
    from engine.server.extension_halves import ExtensionHalves

    write(tmp_path, "mine", CODE.replace('title="Mine"', f'title="{taken}"'))
    halves = ExtensionHalves(tmp_path)
    halves.load()
    assert halves.tell().halves[0].state == "broken"
    assert "mine" not in [view.id for view in sampler_views()]
