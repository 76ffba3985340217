"""Networks and hints lent for a picture: loaded once, embedded once, given back."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.control.annotators import AnnotatorFiles
from engine.control.hints import HintFolder
from engine.errors import ControlError, OutOfMemoryError
from engine.images.assets import AssetStore
from engine.jobs.controls import ControlKey, ControlShop
from engine.jobs.hints import HintShop
from engine.library.controlnets import ControlShelf
from engine.library.library import Library
from engine.memory.pool import ModelPool
from engine.pipeline.model import ModelBundle, open_model
from engine.protocol.specs import ControlUnit, GenerationSpec
from engine.store.store import open_store
from tests.support.studio_data import TINY, make_settings
from tests.support.tiny_models import write_tiny_controlnet, write_tiny_sdxl

Bench = tuple[ControlShop, ModelPool, ModelBundle, str]


@pytest.fixture
def bench(tmp_path: Path) -> Callable[[int], Bench]:
    settings = make_settings(tmp_path)
    model = tmp_path / "models" / "checkpoints" / TINY
    write_tiny_controlnet(tmp_path / "models" / "controlnet" / "canny", model)
    write_tiny_controlnet(tmp_path / "models" / "controlnet" / "other", write_tiny_sdxl(tmp_path / "sdxl"))
    library = Library(settings, open_store(settings.state_dir).library)
    assets = AssetStore(settings.state_dir)
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(buffer, "PNG")

    def build(budget: int) -> Bench:
        pool = ModelPool(budget)
        hints = HintShop(pool, HintFolder(settings.state_dir / "hints", assets), AnnotatorFiles([]), "cpu")
        shop = ControlShop(pool, ControlShelf(library), hints, library.find_model)
        bundle = open_model(pool, library.find_model(TINY))
        return shop, pool, bundle, assets.put(buffer.getvalue()).ref

    return build


def spec(*units: ControlUnit) -> GenerationSpec:
    return GenerationSpec(prompt="x", model=TINY, width=64, height=64, controls=units)


def controls(pool: ModelPool) -> list[int]:
    return [entry.leases for entry in pool.entries() if isinstance(entry.key, ControlKey)]


def test_a_network_is_loaded_once_and_a_hint_embedded_once(bench: Callable[[int], Bench]) -> None:
    shop, pool, bundle, image = bench(2**30)
    first = shop.lend(spec(ControlUnit(model="canny", image=image, preprocessor="canny")), bundle)
    second = shop.lend(
        spec(
            ControlUnit(model="canny", image=image, preprocessor="canny", weight=0.4),
            ControlUnit(model="canny", image=image, preprocessor="invert"),
            ControlUnit(model="gone", image="", muted=True),
            ControlUnit(model="canny", image=image, weight=0.0),
        ),
        bundle,
    )
    one, two = first.controls.units[0], second.controls.units
    assert len(two) == 2, "muted units and those without weight cost nothing"
    assert one.network is two[0].network is two[1].network
    assert one.hint is two[0].hint
    assert one.hint is not two[1].hint
    assert controls(pool) == [3]
    first.close()
    second.close()
    second.close()
    assert controls(pool) == [0]
    assert second.controls.units == ()


def test_nothing_stays_lent_after_a_refusal(bench: Callable[[int], Bench]) -> None:
    shop, pool, bundle, image = bench(2**30)
    fine = ControlUnit(model="canny", image=image)
    with pytest.raises(ControlError) as caught:
        shop.lend(spec(fine, ControlUnit(model="other", image=image)), bundle)
    assert caught.value.code == "control_mismatch"
    assert controls(pool) == [], "nothing is loaded before all units were looked at"
    with pytest.raises(ControlError):
        shop.lend(spec(fine, ControlUnit(model="canny", image=image, preprocessor="softedge_hed")), bundle)
    assert controls(pool) == [0]


def test_networks_count_in_the_budget(bench: Callable[[int], Bench]) -> None:
    shop, pool, bundle, image = bench(2**30)
    used = pool.used_bytes
    lent = shop.lend(spec(ControlUnit(model="canny", image=image)), bundle)
    size = pool.used_bytes - used
    assert size > 100_000
    lent.close()
    bundle.close()
    shop, pool, bundle, image = bench(used + size // 2)
    with pytest.raises(OutOfMemoryError) as refused:
        shop.lend(spec(ControlUnit(model="canny", image=image)), bundle)
    assert "ControlNet of canny" in refused.value.message
