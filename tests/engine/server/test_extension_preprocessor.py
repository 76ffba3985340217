"""A preprocessor of an extension: listed, previewed, used in a job, and harmless when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.client.base import EngineClient
from engine.control.preprocessors.table import preprocessor, set_added_preprocessors
from engine.errors import ControlError, SpecError, StudioError
from engine.host import EngineHost
from engine.protocol.commands import GetStatus, ListControls, LocateAsset, PreviewHint
from engine.protocol.specs import ControlUnit
from engine.server.extension_halves import ExtensionHalves
from engine.server.local import LocalEngineClient
from tests.engine.control.test_studio import kept, made, spec_of
from tests.engine.server.test_extension_halves import write
from tests.support.studio_data import TINY, make_settings
from tests.support.tiny_models import write_tiny_controlnet

POSTERIZE = """
from PIL import ImageOps
from engine.control.preprocessors.base import Parameter

def posterize(image, options):
    return ImageOps.posterize(image, int(options["bits"])).resize((8, 8))

def broken(image, options):
    raise SystemExit("no luck")

def odd(image, options):
    return 3

def register(host):
    host.preprocessor("posterize", posterize, title="Posterize", types=("seg",),
                      options=[Parameter("bits", "Bits a colour", 1, 8, 3)])
    host.preprocessor("broken", broken)
    host.preprocessor("odd", odd)
"""


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    set_added_preprocessors(())


def test_it_makes_hints_as_easels_own_do(tmp_path: Path) -> None:
    settings = make_settings(tmp_path / "data")
    write_tiny_controlnet(settings.models_dir / "controlnet" / "canny", settings.models_dir / "checkpoints" / TINY)
    write(tmp_path / "extensions", "poster", POSTERIZE)

    async def scenario(client: EngineClient) -> None:
        while (await client.call(GetStatus())).state != "ready":
            await asyncio.sleep(0.05)
        catalogue = await client.call(ListControls())
        found = {view.id: view for view in catalogue.preprocessors}["posterize"]
        assert (found.title, found.types, found.parameters[0].default) == ("Posterize", ("seg",), 3)
        image = await kept(client)
        hint = await client.call(PreviewHint(image=image, preprocessor="posterize", width=64, height=64))
        pixels = np.asarray(Image.open((await client.call(LocateAsset(ref=hint.ref))).path))
        assert set(np.unique(pixels)) <= {value << 5 for value in range(8)} | set(range(256))
        assert (hint.width, hint.height) == (77, 64), "brought back to the size that was asked for"
        again = await client.call(PreviewHint(image=image, preprocessor="posterize", width=64, height=64))
        assert again.cached
        unit = ControlUnit(model="canny", image=image, preprocessor="posterize", parameters={"bits": 2.0})
        job = await made(client, spec_of(unit))
        assert job.images[0].spec.controls[0].parameters == {"bits": 2.0}
        for name, words in (("broken", "no luck"), ("odd", "not a picture")):
            with pytest.raises(StudioError) as caught:
                await client.call(PreviewHint(image=image, preprocessor=name))
            assert caught.value.code == "preprocessor_failed"
            assert words in caught.value.message
        await made(client, spec_of(unit.model_copy(update={"preprocessor": "canny", "parameters": {}})))

    client = LocalEngineClient(settings, extensions=tmp_path / "extensions")

    async def play() -> None:
        try:
            await asyncio.wait_for(scenario(client), 120)
        finally:
            await client.close()

    asyncio.run(play())


def test_a_name_that_is_taken_breaks_that_half_only(tmp_path: Path) -> None:
    write(tmp_path, "first", POSTERIZE)
    write(tmp_path, "second", POSTERIZE)
    write(tmp_path, "third", "def register(host):\n    host.preprocessor('canny', lambda image, options: image)\n")
    halves = ExtensionHalves(tmp_path)
    halves.load()
    told = {half.id: half for half in halves.tell().halves}
    assert told["first"].adds == ("the preprocessor Posterize", "the preprocessor broken", "the preprocessor odd")
    assert "posterize" in told["second"].reason
    assert "canny" in told["third"].reason
    assert preprocessor("posterize").title == "Posterize"


@pytest.mark.parametrize("name", ["", "Upper", "a b", " x"])
def test_a_name_that_is_no_good(name: str) -> None:
    with pytest.raises(SpecError) as caught:
        EngineHost("x").preprocessor(name, lambda image, options: image)
    assert caught.value.code == "extension_unusable"


def test_when_it_is_gone_the_name_is_unknown() -> None:
    with pytest.raises(ControlError):
        preprocessor("posterize")
