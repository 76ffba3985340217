"""IP-Adapter and reference units from REST to picture, on a tiny real model with a tiny real image encoder."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from engine.client.base import EngineClient
from engine.errors import SpecError
from engine.images.draft import Lookups
from engine.library.headers import read_header
from engine.library.identify import identify, identify_file
from engine.library.ip_adapters import ip_adapter_facts
from engine.protocol.commands import CheckSpec, ListControls, ReadRecipe
from engine.protocol.seed import GenerationRequest
from engine.protocol.specs import ControlUnit
from engine.settings import Settings
from tests.engine.control.test_control_infotext import controls, written
from tests.engine.control.test_files import control
from tests.engine.control.test_studio import kept, made, pixels, refusal, spec_of
from tests.support.drawings import drawing
from tests.support.playing import Play, playing
from tests.support.studio_data import TINY, make_settings
from tests.support.tiny_ip_adapter import write_tiny_image_encoder, write_tiny_ip_adapter
from tests.support.tiny_models import write_tiny_controlnet, write_tiny_sdxl


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kinds")
    make_settings(folder)
    models = folder / "models"
    model = models / "checkpoints" / TINY
    write_tiny_controlnet(models / "controlnet" / "canny", model, seed=1)
    write_tiny_ip_adapter(models / "controlnet" / "ip-plain.safetensors", model, seed=1)
    write_tiny_ip_adapter(models / "controlnet" / "ip-plus.safetensors", model, variant="plus", seed=2)
    big = write_tiny_sdxl(folder / "made" / "sdxl")
    write_tiny_ip_adapter(models / "controlnet" / "ip-wide.safetensors", big, seed=3)
    write_tiny_image_encoder(models / "image_encoders" / "tiny")
    return folder


@pytest.fixture(scope="module")
def play(data: Path) -> Iterator[Play]:
    Image.new("RGB", (64, 64), (20, 120, 40)).save(data / "mine.png")
    settings = make_settings(data)
    engine = settings.engine.model_copy(update={"reference_image": str(data / "mine.png")})
    with playing(with_engine(settings, engine)) as play:
        yield play


def with_engine(settings: Settings, engine: Any) -> Settings:
    return settings.model_copy(update={"engine": engine})


def test_each_kind_makes_another_picture_and_comes_back_from_the_file(play: Play, data: Path) -> None:
    async def scenario(client: EngineClient) -> None:
        image = await kept(client)
        plain = pixels(data, await made(client, spec_of()))
        units = (
            ControlUnit(kind="ip_adapter", model="ip-plain", image=image, weight=0.7),
            ControlUnit(kind="ip_adapter", model="IP-PLUS", image=image, weight=0.5, end=0.5),
            ControlUnit(kind="reference", image=image, weight=0.8, fidelity=0.25),
        )
        alone = []
        for unit in units:
            job = await made(client, spec_of(unit))
            alone.append(pixels(data, job))
            assert not np.array_equal(alone[-1], plain)
            file = data / "outputs" / job.images[0].name
            recipe = await client.call(ReadRecipe(data=base64.b64encode(file.read_bytes()).decode()))
            assert recipe.spec is not None
            assert recipe.spec.controls == job.images[0].spec.controls
        everything = await made(client, spec_of(*units, ControlUnit(model="canny", image=image, preprocessor="canny")))
        mixed = pixels(data, everything)
        assert all(not np.array_equal(mixed, one) for one in alone)
        assert [unit.model for unit in everything.images[0].spec.controls] == ["ip-plain", "ip-plus", "", "canny"]

    play(scenario)


def test_the_catalogue_tells_kinds(play: Play) -> None:
    async def scenario(client: EngineClient) -> None:
        catalogue = await client.call(ListControls(model=TINY))
        found = {view.id: view for view in catalogue.controlnets}
        assert found["canny"].kind == "controlnet"
        assert (found["ip-plain"].kind, found["ip-plain"].type, found["ip-plain"].weight) == (
            "ip_adapter", "ip_adapter", 0.5,
        )  # fmt: skip
        assert found["ip-plain"].fits is True
        assert found["ip-wide"].fits is False
        types = {each.id: each for each in catalogue.types}
        assert (types["reference"].low, types["reference"].high) == (0.4, 0.8)

    play(scenario)


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"kind": "ip_adapter", "model": "canny"}, "control_unsupported", "is a ControlNet"),
        ({"kind": "controlnet", "model": "ip-plain"}, "control_unsupported", "is an IP-Adapter"),
        ({"kind": "controlnet", "model": ""}, "control_unknown", "has no ControlNet"),
        ({"kind": "ip_adapter", "model": "ip-wide"}, "control_mismatch", "made for another model"),
        ({"kind": "ip_adapter", "model": "nobody"}, "control_unknown", "nobody"),
        ({"kind": "reference", "image": ""}, "control_image_missing", "no picture"),
        ({"kind": "reference", "fidelity": 1.5}, "fraction_out_of_range", "fidelity"),
        ({"kind": "reference", "weight": -1.0}, "control_weight_out_of_range", "weight"),
    ],
)
def test_bad_units_are_refused(play: Play, changes: dict[str, Any], code: str, words: str) -> None:
    async def scenario(client: EngineClient) -> None:
        error = await refusal(client, ControlUnit(**{"image": await kept(client), **changes}))
        assert error.code == code
        assert words in error.message

    play(scenario)


def test_an_adapter_without_its_image_encoder_says_what_it_needs(play: Play, data: Path) -> None:
    async def scenario(client: EngineClient) -> None:
        image = await kept(client)
        shutil.move(data / "models" / "image_encoders", data / "away")
        try:
            error = await refusal(client, ControlUnit(kind="ip_adapter", model="ip-plain", image=image))
        finally:
            shutil.move(data / "away", data / "models" / "image_encoders")
        assert error.code == "image_encoder_missing"
        assert "models/image_encoders" in error.hint

    play(scenario)


def test_the_seeds_request_uses_the_servers_picture_or_its_own(play: Play, data: Path) -> None:
    """Decision 46: `ip_strength` with `[engine] reference_image`, or with `reference_image` in the request."""

    async def scenario(client: EngineClient) -> None:
        spec = GenerationRequest(prompt="a red cat", ip_strength=0.6, steps=4, seed=3, width=64, height=64).to_spec()
        job = await made(client, spec)
        unit = job.images[0].spec.controls[0]
        assert (unit.kind, unit.model, unit.weight) == ("ip_adapter", "ip-plain", 0.6)
        image = await kept(client)
        own = GenerationRequest(prompt="x", ip_strength=0.5, reference_image=image).to_spec()
        view = await client.call(CheckSpec(spec=own))
        assert view.spec is not None
        assert view.spec.controls[0].image == image
        assert view.spec.controls[0].image != unit.image
        assert GenerationRequest(prompt="x").to_spec().controls == ()
        with pytest.raises(SpecError, match="ip_strength"):
            GenerationRequest(prompt="x", ip_strength=1.5).to_spec()

    play(scenario)


def test_without_an_ip_adapter_the_picture_is_a_reference_and_that_is_told(play: Play, data: Path) -> None:
    async def scenario(client: EngineClient) -> None:
        image = await kept(client)
        unit = ControlUnit(kind="ip_adapter", image=image, weight=0.6)
        # The starter's attention is narrower than that of the adapters here.
        view = await client.call(CheckSpec(spec=spec_of(unit, model="starter")))
        assert view.error is None
        assert view.spec is not None
        assert view.spec.controls[0].kind == "reference"
        assert any("used as a reference" in notice.message for notice in view.notices)

    play(scenario)


def test_files_are_told_by_their_headers(data: Path, tmp_path: Path) -> None:
    plain = data / "models" / "controlnet" / "ip-plain.safetensors"
    assert identify_file(plain).kind == "controlnet"
    facts = ip_adapter_facts(read_header(plain).tensors)
    assert (facts.text_width, facts.whole, facts.encoder_width) == (32, False, 24)
    plus = ip_adapter_facts(read_header(plain.with_name("ip-plus.safetensors")).tensors)
    assert (plus.whole, plus.encoder_width) == (True, 32)
    big = {"image_proj.proj.weight": torch.zeros(8192, 4), "ip_adapter.1.to_k_ip.weight": torch.zeros(4, 2048)}
    save_file(big, tmp_path / "xl.safetensors")
    assert identify_file(tmp_path / "xl.safetensors").family == "sdxl"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["image_proj.perceiver_resampler.proj_in.weight", "ip_adapter.1.to_k_ip.weight"], "faces"),
        (["image_proj.proj.0.weight", "ip_adapter.1.to_k_ip.weight", "ip_adapter.0.to_q_lora.down.weight"], "faces"),
        (["image_proj.strange.weight", "ip_adapter.1.to_k_ip.weight"], "of a kind that Easel does not know"),
    ],
)
def test_variants_that_cannot_be_run_say_so(names: list[str], words: str) -> None:
    assert words in identify(control(names), {}, "file.safetensors").problem


def test_a_pickle_is_refused_with_a_sentence() -> None:
    names = ["image_proj.proj.weight", "ip_adapter.1.to_k_ip.weight"]
    assert "safetensors" in identify(control(names), {}, "ip-adapter_sd15.bin").problem


ASSET = "asset:" + "ab" * 32


def test_infotext_names_them_as_a1111_does() -> None:
    units = (
        ControlUnit(kind="ip_adapter", model="ip, plus: best", image=ASSET, weight=0.6),
        ControlUnit(kind="reference", image=ASSET, weight=0.8, fidelity=0.25, end=0.7),
    )
    text = written(*units)
    assert "Module: ip-adapter-auto, Model: ip, plus: best" in text
    assert "Module: reference_only, Model: None" in text
    assert controls(text) == units
    foreign = text[: text.index(", Easel controls")] + ", Version: v1.10.1"
    first, second = controls(foreign, Lookups(has_asset=lambda ref: True))
    assert (first.kind, first.model, first.weight) == ("ip_adapter", "ip, plus: best", 0.6)
    assert (second.kind, second.model, second.fidelity, second.end) == ("reference", "", 0.25, 0.7)
    assert first.muted
    assert second.muted, "A1111's text has no picture"


def test_a_reference_of_another_shape_is_cut_to_the_pictures(play: Play, data: Path) -> None:
    async def scenario(client: EngineClient) -> None:
        image = await kept(client, drawing(200, 50))
        clear = Image.new("RGBA", (80, 80), (0, 0, 0, 0))
        buffer = io.BytesIO()
        clear.save(buffer, "PNG")
        for unit in (
            ControlUnit(kind="reference", image=image, resize="crop"),
            ControlUnit(kind="reference", image=image, resize="fill"),
            ControlUnit(kind="reference", image=await kept(client, clear)),
        ):
            await made(client, spec_of(unit, width=96, steps=2))

    play(scenario)
