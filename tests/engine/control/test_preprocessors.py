"""Every preprocessor runs: those without weights beside controlnet-aux' own, the others on made-up weights."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.control.annotators import AnnotatorFiles
from engine.control.hints import HintFolder, run
from engine.control.preprocessors.base import Pixels, Preprocessor
from engine.control.preprocessors.table import PREPROCESSORS, preprocessor
from engine.errors import ControlError
from engine.images.assets import AssetStore
from engine.jobs.hints import HintShop
from engine.loading.torchvision_guard import guard_torchvision
from engine.memory.pool import ModelPool
from tests.support.annotator_files import write_annotator

# Hundreds of megabytes in memory: run with the slow tests.
LARGE = {"depth_zoe"}


def scene(width: int = 128, height: int = 128) -> Pixels:
    random = np.random.default_rng(1)
    pixels = np.full((height, width, 3), 230, dtype=np.uint8)
    pixels[height // 4 : -height // 4, width // 4 : -width // 4] = (40, 90, 160)
    return np.clip(pixels + random.integers(-9, 9, pixels.shape), 0, 255).astype(np.uint8)


def made(name: str, pixels: Pixels, **given: float) -> Pixels:
    what = preprocessor(name)
    return run(what, pixels, what.values(given), None)


@pytest.fixture(scope="module")
def aux() -> Any:
    guard_torchvision()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import controlnet_aux

        return controlnet_aux


def test_canny_and_line_art_are_those_of_controlnet_aux(aux: Any) -> None:
    pixels = scene()
    same = {"detect_resolution": 128, "output_type": "np"}
    theirs = aux.CannyDetector()(pixels, 80, 160, image_resolution=128, **same)
    assert np.array_equal(made("canny", pixels, low=80, high=160), theirs)
    theirs = aux.LineartStandardDetector()(pixels, guassian_sigma=5.0, intensity_threshold=6, **same)
    assert np.array_equal(made("lineart_standard", pixels, sigma=5.0, threshold=6), theirs)


def test_shuffle_keeps_colours_and_is_repeatable() -> None:
    pixels = scene()
    first, again, other = (made("shuffle", pixels, size=64, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, pixels)
    assert abs(float(first.mean()) - float(pixels.mean())) < 60


def test_tile_is_coarser_and_the_scribble_is_a_drawing() -> None:
    pixels = scene()
    assert np.array_equal(made("tile_resample", pixels, rate=1), pixels)
    assert made("tile_resample", pixels, rate=8).astype(int).std() < pixels.astype(int).std()
    drawn = made("scribble_edges", pixels)
    assert set(np.unique(drawn)) == {0, 255}
    assert 0.005 < float((drawn > 0).mean()) < 0.3
    thick = made("scribble_edges", pixels, thickness=24)
    assert (thick > 0).sum() > (drawn > 0).sum()


def test_inverting_and_nothing() -> None:
    pixels = scene()
    assert np.array_equal(made("invert", pixels), 255 - pixels)
    assert np.array_equal(made("none", pixels), pixels)


PLAIN = [each for each in PREPROCESSORS if each.load is None and not each.unavailable]
BLACK, WHITE = np.zeros((8, 8, 3), np.uint8), np.full((9, 100, 3), 255, np.uint8)


@pytest.mark.parametrize("what", PLAIN, ids=lambda each: each.id)
@pytest.mark.parametrize("pixels", [BLACK, WHITE], ids=["black", "white"])
def test_plain_pictures_are_no_trouble(what: Preprocessor, pixels: Pixels) -> None:
    hint = run(what, pixels, what.values({}), None)
    assert hint.shape == pixels.shape


def parameters_of(what: Preprocessor) -> Any:
    return pytest.param(what, id=what.id, marks=[pytest.mark.slow] if what.id in LARGE else [])


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("annotators")


def shop_of(folder: Path, weights: Path) -> tuple[HintShop, AssetStore, ModelPool]:
    pool, assets = ModelPool(8 * 1024**3), AssetStore(folder)
    return HintShop(pool, HintFolder(folder / "hints", assets), AnnotatorFiles([weights]), "cpu"), assets, pool


def kept(assets: AssetStore, pixels: Pixels) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return assets.put(buffer.getvalue()).ref


@pytest.mark.parametrize("what", [parameters_of(each) for each in PREPROCESSORS if each.load is not None])
def test_a_preprocessor_with_weights_runs(what: Preprocessor, weights: Path, tmp_path: Path) -> None:
    shop, assets, pool = shop_of(tmp_path, weights)
    for file in what.files:
        if not (weights / file.name).is_file():
            with pytest.raises(ControlError) as caught:
                AnnotatorFiles([weights]).paths(what)
            assert file.name in caught.value.message
            write_annotator(file.name, weights)
    request = shop.request(kept(assets, scene()), what.id, {}, 128, None, "crop")
    assert shop.needs_weights(request)
    hint = shop.make(request)
    assert (hint.width, hint.height) == (128, 128)
    assert hint.seconds > 0
    assert shop.make(request).cached
    entry = pool.entries()[0]
    assert entry.nbytes > 1e6
    assert entry.leases == 0, "lent for as long as it runs"


def test_weights_that_are_none_are_one_sentence(tmp_path: Path) -> None:
    shop, assets, pool = shop_of(tmp_path, tmp_path / "annotators")
    (tmp_path / "annotators").mkdir()
    file = tmp_path / "annotators" / "ControlNetHED.pth"
    for content in (b"", b"not a model", b"PK\x03\x04broken"):
        file.write_bytes(content)
        request = shop.request(kept(assets, scene()), "softedge_hed", {}, 128, None, "crop")
        with pytest.raises(ControlError) as caught:
            shop.make(request)
        assert caught.value.code == "annotator_unusable"
        assert "ControlNetHED.pth" in caught.value.message
        assert "\n" not in caught.value.message
    assert pool.entries() == ()


def test_a_preprocessor_that_raises_is_one_sentence() -> None:
    def broken(pixels: Pixels, values: Any, detector: Any) -> Pixels:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied\n(1x2 and 3x4)")

    with pytest.raises(ControlError) as caught:
        run(Preprocessor("x", "The broken one", (), broken), scene(), {}, None)
    assert caught.value.code == "preprocessor_failed"
    assert caught.value.message.startswith("The broken one could not work on this picture: mat1")
    assert "\n" not in caught.value.message


def test_weights_are_found_in_the_hub_cache_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.file_download as downloads

    what = preprocessor("softedge_hed")
    snapshot = tmp_path / "models--lllyasviel--Annotators" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "ControlNetHED.pth").write_bytes(b"x")
    refs = tmp_path / "models--lllyasviel--Annotators" / "refs"
    refs.mkdir()
    (refs / "main").write_text("abc")
    monkeypatch.setattr(downloads.constants, "HF_HUB_CACHE", str(tmp_path))
    assert AnnotatorFiles([]).paths(what) == [snapshot / "ControlNetHED.pth"]


def test_names_of_other_programs_are_understood() -> None:
    assert preprocessor("invert (from white bg & black line)").id == "invert"
    assert preprocessor("CANNY").id == "canny"
    with pytest.raises(ControlError) as caught:
        preprocessor("cany")
    assert "canny" in caught.value.hint
