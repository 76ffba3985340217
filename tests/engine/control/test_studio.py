"""Units from REST to picture: a whole engine on a tiny real model with tiny real ControlNets."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from engine.client.base import EngineClient
from engine.errors import StudioError
from engine.protocol.commands import (
    CheckSpec,
    GetJob,
    ListControls,
    LocateAsset,
    PreviewHint,
    PutAsset,
    ReadRecipe,
    SubmitJob,
)
from engine.protocol.jobs import JobView
from engine.protocol.specs import ControlUnit, GenerationSpec
from tests.support.annotator_files import write_annotator
from tests.support.drawings import drawing
from tests.support.playing import Play, playing
from tests.support.studio_data import TINY, make_settings
from tests.support.tiny_models import write_single_controlnet, write_tiny_controlnet, write_tiny_sdxl


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studio")
    make_settings(folder)
    models = folder / "models"
    model = models / "checkpoints" / TINY
    write_tiny_controlnet(models / "controlnet" / "canny", model, seed=1)
    made = write_tiny_controlnet(folder / "made" / "scribble", model, seed=2)
    write_single_controlnet(made, models / "controlnet" / "tiny_scribble.safetensors")
    big = write_tiny_sdxl(folder / "made" / "sdxl")
    write_tiny_controlnet(models / "controlnet" / "wide_depth", big, seed=3)
    lora = {"lora_unet_mid_block_attentions_0_proj_in.lora_up.weight": torch.zeros(64, 2, 1, 1),
            "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": torch.zeros(2, 64, 1, 1)}  # fmt: skip
    (models / "loras").mkdir()
    save_file(lora, models / "loras" / "ink.safetensors")
    save_file(lora, models / "controlnet" / "mistaken.safetensors")
    return folder


@pytest.fixture(scope="session")
def play(data: Path) -> Iterator[Play]:
    with playing(make_settings(data)) as play:
        yield play


def png(picture: Image.Image, kind: str = "PNG", **more: Any) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **more)
    return base64.b64encode(buffer.getvalue()).decode()


async def kept(client: EngineClient, picture: Image.Image | None = None) -> str:
    return (await client.call(PutAsset(data=png(picture or drawing())))).ref


def spec_of(*units: ControlUnit, **changes: Any) -> GenerationSpec:
    fields = {"prompt": "a red cat", "steps": 4, "guidance": 5.0, "seed": 3, "width": 64, "height": 64, **changes}
    return GenerationSpec(controls=units, **fields)


async def made(client: EngineClient, spec: GenerationSpec) -> JobView:
    job = await client.call(SubmitJob(spec=spec))
    while job.status in ("queued", "running"):
        await asyncio.sleep(0.05)
        job = await client.call(GetJob(job_id=job.id))
    assert job.error is None, job.error
    return job


def pixels(data: Path, job: JobView) -> np.ndarray:
    return np.asarray(Image.open(data / "outputs" / job.images[0].name).convert("RGB"))


async def refusal(client: EngineClient, *units: ControlUnit, **changes: Any) -> StudioError:
    with pytest.raises(StudioError) as caught:
        await client.call(CheckSpec(spec=spec_of(*units, **changes)))
    error = caught.value
    assert error.message.endswith((".", "!"))
    assert "\n" not in error.message
    return error


def test_two_units_make_another_picture_and_muted_ones_do_not(play: Play, data: Path) -> None:
    async def scenario(client: EngineClient) -> None:
        image = await kept(client)
        canny = ControlUnit(model="canny", image=image, preprocessor="canny", weight=1.0)
        scribble = ControlUnit(model="tiny_scribble", image=image, preprocessor="scribble_edges", weight=0.7, end=0.5)
        both = pixels(data, await made(client, spec_of(canny, scribble)))
        one = pixels(data, await made(client, spec_of(canny, scribble.model_copy(update={"muted": True}))))
        alone = pixels(data, await made(client, spec_of(canny)))
        none = pixels(data, await made(client, spec_of()))
        again = pixels(data, await made(client, spec_of(canny, scribble)))
        assert np.array_equal(both, again)
        assert np.array_equal(one, alone)
        assert not np.array_equal(both, one)
        assert not np.array_equal(alone, none)

    play(scenario)


def test_the_resolved_units_are_stored_and_come_back_from_the_picture(play: Play, data: Path) -> None:
    async def scenario(client: EngineClient) -> None:
        image = await kept(client)
        unit = ControlUnit(
            model="canny.", image=image, preprocessor="canny", weight=0.8, start=0.25, ramp="cosine", mode="prompt",
            percent_rule="sigma", resize="fill",
        )  # fmt: skip
        job = await made(client, spec_of(unit.model_copy(update={"model": "CANNY"})))
        stored = job.images[0].spec.controls[0]
        assert stored == unit.model_copy(update={"model": "canny", "parameters": {"low": 100.0, "high": 200.0}})
        file = data / "outputs" / job.images[0].name
        recipe = await client.call(ReadRecipe(data=base64.b64encode(file.read_bytes()).decode()))
        assert recipe.spec is not None
        assert recipe.spec.controls == (stored,)
        assert "ControlNet 0: " in job.images[0].infotext

    play(scenario)


def test_pictures_of_a_job_share_the_networks_and_each_is_its_own(play: Play, data: Path) -> None:
    async def scenario(client: EngineClient) -> None:
        unit = ControlUnit(model="canny", image=await kept(client), preprocessor="canny")
        job = await made(client, spec_of(unit, count=3))
        assert len(job.images) == 3
        single = await made(client, spec_of(unit, seed=4))
        second = np.asarray(Image.open(data / "outputs" / job.images[1].name).convert("RGB")).astype(int)
        assert np.abs(second - pixels(data, single)).max() <= 2

    play(scenario)


def test_the_catalogue(play: Play) -> None:
    async def scenario(client: EngineClient) -> None:
        catalogue = await client.call(ListControls(model=TINY))
        found = {view.id: view for view in catalogue.controlnets}
        assert set(found) >= {"canny", "tiny_scribble", "wide_depth"}
        assert "mistaken" not in found, "a LoRA in the wrong folder is still a LoRA"
        assert found["canny"].type == "canny"
        assert (found["canny"].low, found["canny"].high, found["canny"].weight) == (0.5, 1.0, 0.75)
        assert found["canny"].preprocessor == "canny"
        assert found["tiny_scribble"].preprocessor == "scribble_edges"
        assert found["canny"].fits is found["tiny_scribble"].fits is True
        assert found["wide_depth"].fits is False
        assert found["wide_depth"].misfit
        ways = {view.id: view for view in catalogue.preprocessors}
        offline = (
            "none",
            "invert",
            "canny",
            "lineart_standard",
            "shuffle",
            "tile_resample",
            "scribble_edges",
            "inpaint",
        )
        assert [name for name in offline if ways[name].problem] == []
        for words in ("ControlNetHED.pth", "huggingface.co/lllyasviel/Annotators", "models/annotators"):
            assert words in ways["softedge_hed"].problem

    play(scenario)


def test_hints_are_made_once_and_found_again(play: Play, data: Path) -> None:
    async def scenario(client: EngineClient) -> None:
        image = await kept(client, drawing(200, 100))
        asked = PreviewHint(image=image, preprocessor="canny", width=64, height=64)
        first = await client.call(asked)
        again = await client.call(asked)
        assert not first.cached
        assert again.cached
        assert first.ref == again.ref
        assert (first.width, first.height) == (128, 64), "its shorter side is the result's"
        other = await client.call(asked.model_copy(update={"parameters": {"low": 10.0, "high": 20.0}}))
        assert not other.cached
        same = await client.call(PreviewHint(image=image))
        assert same.ref == image
        hint = np.asarray(Image.open((await client.call(LocateAsset(ref=first.ref))).path))
        assert set(np.unique(hint)) == {0, 255}
        # A hint may be the picture of a unit.
        await made(client, spec_of(ControlUnit(model="canny", image=first.ref)))

    play(scenario)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"image": ""}, "control_image_missing"),
        ({"image": "asset:" + "0" * 64}, "asset_unknown"),
        ({"image": "C:/secret.png"}, "asset_unknown"),
        ({"weight": -1.0}, "control_weight_out_of_range"),
        ({"weight": 10.0}, "control_weight_out_of_range"),
        ({"start": 0.6, "end": 0.4}, "control_window_empty"),
        ({"end": 50.0}, "fraction_out_of_range"),
        ({"start": -0.1}, "fraction_out_of_range"),
        ({"model": "nothing"}, "control_unknown"),
        ({"model": "ink"}, "control_unknown"),
        ({"model": "wide_depth"}, "control_mismatch"),
        ({"preprocessor": "magic"}, "preprocessor_unknown"),
        ({"preprocessor": "dw_openpose_full"}, "preprocessor_unavailable"),
        ({"preprocessor": "softedge_hed"}, "annotator_missing"),
        ({"preprocessor": "canny", "parameters": {"low": 999.0}}, "control_value_out_of_range"),
        ({"preprocessor": "canny", "parameters": {"lower": 1.0}}, "control_value_out_of_range"),
        ({"resolution": 5}, "control_value_out_of_range"),
    ],
)
def test_bad_units_are_refused_with_one_sentence(play: Play, changes: dict[str, Any], code: str) -> None:
    async def scenario(client: EngineClient) -> None:
        fields = {"model": "canny", "image": await kept(client), **changes}
        error = await refusal(client, ControlUnit(**fields))
        assert error.code == code
        muted = await client.call(CheckSpec(spec=spec_of(ControlUnit(**fields, muted=True))))
        assert muted.error is None

    play(scenario)


def test_fractions_over_one_are_asked_back(play: Play) -> None:
    async def scenario(client: EngineClient) -> None:
        error = await refusal(client, ControlUnit(model="canny", image=await kept(client), end=50.0))
        assert error.hint == "Did you mean 0.5?"
        lora = await refusal(client, ControlUnit(model="ink", image=await kept(client)))
        assert "LoRA" in lora.hint

    play(scenario)


@pytest.mark.parametrize("size", [(1, 1), (4, 100), (3000, 100)])
def test_pictures_of_impossible_shape(play: Play, size: tuple[int, int]) -> None:
    async def scenario(client: EngineClient) -> None:
        image = await kept(client, Image.new("RGB", size))
        error = await refusal(client, ControlUnit(model="canny", image=image, preprocessor="canny"))
        assert error.code == "control_image_unusable"
        with pytest.raises(StudioError) as caught:
            await client.call(PreviewHint(image=image, preprocessor="canny"))
        assert caught.value.code == "control_image_unusable"

    play(scenario)


def test_odd_pictures_are_understood(play: Play, data: Path) -> None:
    """A phone's 20 megapixels on their side, an animation, transparency, grey, a palette, one row of noise."""

    async def scenario(client: EngineClient) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        frames = [Image.new("P", (90, 60), color) for color in (1, 2)]
        clear = drawing().convert("RGBA")
        clear.putalpha(Image.new("L", clear.size, 0))
        sent = [
            png(drawing(5472, 3648), "JPEG", exif=exif.tobytes()),
            png(frames[0], "GIF", save_all=True, append_images=frames[1:]),
            png(clear),
            png(drawing().convert("L")),
            png(drawing().convert("P")),
            png(drawing().convert("1")),
        ]
        for each in sent:
            ref = await client.call(PutAsset(data=each))
            if ref.width * ref.height > 1e7:
                assert ref.height > ref.width, "upright"
            hint = await client.call(PreviewHint(image=ref.ref, preprocessor="canny", width=64, height=64))
            assert min(hint.width, hint.height) == 64
            unit = ControlUnit(model="canny", image=ref.ref, preprocessor="scribble_edges")
            await made(client, spec_of(unit, steps=1))

    play(scenario)


def test_a_preprocessor_with_weights_beside_a_running_job(play: Play, data: Path) -> None:
    async def scenario(client: EngineClient) -> None:
        image = await kept(client)
        write_annotator("table5_pidinet.pth", data / "models" / "annotators")
        job = await client.call(SubmitJob(spec=spec_of(steps=150)))
        hint = await client.call(PreviewHint(image=image, preprocessor="softedge_pidinet", width=64, height=64))
        assert not hint.cached
        unit = ControlUnit(model="canny", image=image, preprocessor="softedge_pidinet", weight=0.5)
        await made(client, spec_of(unit))
        again = await client.call(PreviewHint(image=image, preprocessor="softedge_pidinet", width=64, height=64))
        assert again.cached
        while job.status in ("queued", "running"):
            await asyncio.sleep(0.05)
            job = await client.call(GetJob(job_id=job.id))
        assert job.error is None

    play(scenario)


def test_advice(play: Play) -> None:
    async def scenario(client: EngineClient) -> None:
        image = await kept(client)
        unit = ControlUnit(model="canny", image=image, weight=1.0)
        late = unit.model_copy(update={"start": 0.9, "end": 0.95})
        view = await client.call(CheckSpec(spec=spec_of(unit, unit, unit, late)))
        said = " ".join(notice.message for notice in view.notices if notice.code == "control_advice")
        assert "4 ControlNets" in said
        assert "of the type Canny" in said
        assert "add up to 4" in said
        assert "holds none of the 4 steps" in said
        halves = (unit.model_copy(update={"end": 0.5}), unit.model_copy(update={"start": 0.5}))
        apart = await client.call(CheckSpec(spec=spec_of(*halves)))
        assert not [notice for notice in apart.notices if "add up" in notice.message]
        quiet = await client.call(CheckSpec(spec=spec_of(unit)))
        assert not [notice for notice in quiet.notices if notice.code == "control_advice"]

    play(scenario)
