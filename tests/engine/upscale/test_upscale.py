"""Enlarging with the weights that ship: sharper than bicubic, the same with any tile, sentences for bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file

from engine.errors import GenerationError, ModelFileError, SpecError
from engine.upscale.network import UpscaleNet, build_upscaler, load_upscaler
from engine.upscale.upscale import upscale
from tests.support.likeness import psnr

WEIGHTS = Path(__file__).parents[3] / "models" / "starter" / "upscaler" / "realesr-animevideov3.safetensors"


@pytest.fixture(scope="module")
def net() -> UpscaleNet:
    return load_upscaler(WEIGHTS)


@pytest.fixture(scope="module")
def large() -> Image.Image:
    """A drawing of 256 px with curves, corners and thin lines."""
    picture = Image.new("RGB", (1024, 1024), "white")
    pen = ImageDraw.Draw(picture)
    pen.ellipse((120, 120, 720, 720), fill="#e24b4b", outline="#402020", width=24)
    pen.polygon([(600, 950), (980, 950), (790, 520)], fill="#4b8be2", outline="#203040", width=20)
    pen.line((60, 900, 480, 780), fill="#208040", width=28)
    return picture.resize((256, 256), Image.Resampling.BOX)


@pytest.fixture(scope="module")
def small(large: Image.Image) -> Image.Image:
    return large.resize((64, 64), Image.Resampling.BOX)


@pytest.mark.parametrize("factor", [2, 4])
def test_it_is_larger_and_nearer_to_the_truth_than_bicubic(
    net: UpscaleNet, small: Image.Image, large: Image.Image, factor: int
) -> None:
    size = (64 * factor, 64 * factor)
    wanted = large.resize(size, Image.Resampling.BOX)
    made = upscale(small, factor, net)
    assert made.size == size
    assert made.mode == "RGB"
    assert psnr(made, wanted, 255) > psnr(small.resize(size, Image.Resampling.BICUBIC), wanted, 255) + 1.0


def test_tiles_leave_no_seam(net: UpscaleNet, large: Image.Image) -> None:
    odd = large.resize((150, 101), Image.Resampling.BICUBIC)
    whole = np.asarray(upscale(odd, 4, net, tile=512), dtype=int)
    tiled = np.asarray(upscale(odd, 4, net, tile=40), dtype=int)
    assert whole.shape == (404, 600, 3)
    assert np.abs(whole - tiled).max() <= 1


def test_progress_is_heard_and_may_end_the_work(net: UpscaleNet, large: Image.Image) -> None:
    heard: list[float] = []
    upscale(large, 2, net, tile=128, on_progress=heard.append)
    assert heard == [0.0, 0.25, 0.5, 0.75]

    class Enough(Exception):
        pass

    def stop(fraction: float) -> None:
        if fraction > 0:
            raise Enough

    with pytest.raises(Enough):
        upscale(large, 2, net, tile=128, on_progress=stop)


def test_a_clear_background_stays_clear(net: UpscaleNet, small: Image.Image) -> None:
    clear = small.convert("RGBA")
    clear.paste((0, 0, 0, 0), (0, 0, 64, 20))
    made = upscale(clear, 2, net)
    assert made.mode == "RGBA"
    alpha = np.asarray(made.getchannel("A"))
    assert alpha[:30].max() == 0
    assert alpha[50:].min() == 255


def test_half_precision_gives_the_same_picture(small: Image.Image, net: UpscaleNet) -> None:
    coarse = upscale(small, 4, load_upscaler(WEIGHTS, torch.bfloat16))
    assert psnr(coarse, upscale(small, 4, net), 255) > 35


def test_a_net_that_doubles_is_run_twice() -> None:
    torch.manual_seed(1)
    double = UpscaleNet(8, 1, 2).eval()
    again = build_upscaler(double.state_dict(), "double")
    assert again.scale == 2
    assert upscale(Image.new("RGB", (9, 7), "red"), 4, again).size == (36, 28)


def test_numbers_that_overflow_are_said() -> None:
    broken = UpscaleNet(8, 1, 4).eval()
    broken.body[0].weight.data.fill_(float("inf"))
    with pytest.raises(GenerationError) as caught:
        upscale(Image.new("RGB", (8, 8), "red"), 4, broken)
    assert caught.value.code == "picture_not_finite"


@pytest.mark.parametrize("factor", [0, 1, 3, 8])
def test_other_factors_are_refused(net: UpscaleNet, small: Image.Image, factor: int) -> None:
    with pytest.raises(SpecError) as caught:
        upscale(small, factor, net)
    assert caught.value.code == "bad_request"


def test_too_large_is_refused_before_anything_is_computed(net: UpscaleNet) -> None:
    with pytest.raises(SpecError) as caught:
        upscale(Image.new("RGB", (4097, 8)), 4, net)
    assert caught.value.code == "size_out_of_range"


def test_files_that_are_no_upscaler_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError) as caught:
        load_upscaler(tmp_path / "gone.safetensors")
    assert caught.value.code == "model_file_missing"

    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(WEIGHTS.read_bytes()[:-1000])
    with pytest.raises(ModelFileError) as caught:
        load_upscaler(cut)
    assert caught.value.code == "model_file_truncated"

    tensors = load_file(WEIGHTS)
    tensors["body.4.weight"] = tensors["body.4.weight"][:32].contiguous()
    other = tmp_path / "other.safetensors"
    save_file(tensors, other)
    with pytest.raises(ModelFileError) as caught:
        load_upscaler(other)
    assert caught.value.code == "model_file_unsupported"

    save_file({"conv.weight": torch.zeros(3, 3)}, other)
    with pytest.raises(ModelFileError):
        load_upscaler(other)
