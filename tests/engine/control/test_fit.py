"""Pictures brought to size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers.image_processor import VaeImageProcessor
from PIL import Image

from engine.control.fit import as_tensor, at_resolution, fitted, pixel_perfect, pixels_of, resized
from engine.errors import ControlError


def stripes(width: int, height: int) -> np.ndarray:
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[:, : width // 2] = (250, 40, 10)
    return pixels


@pytest.mark.parametrize("mode", ["stretch", "crop", "fill"])
@pytest.mark.parametrize("shape", [(64, 64), (200, 50), (50, 200), (33, 65)])
def test_every_mode_gives_the_size_that_is_asked_for(mode: str, shape: tuple[int, int]) -> None:
    result = fitted(stripes(*shape), (96, 64), mode)  # type: ignore[arg-type]
    assert result.shape == (64, 96, 3)
    assert result.dtype == np.uint8


def test_crop_keeps_the_middle_and_fill_keeps_all() -> None:
    pixels = np.zeros((50, 200, 3), dtype=np.uint8)
    pixels[:, :20] = 255
    assert fitted(pixels, (50, 50), "crop").max() == 0
    assert fitted(pixels, (50, 50), "stretch")[:, :4].min() > 200
    filled = fitted(pixels, (50, 50), "fill")
    assert filled[25, 1].min() > 200
    assert filled[0].max() == 0, "around it lies the colour of most of the border"


def test_a_hint_of_the_right_size_is_what_diffusers_reads() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8))
    theirs = VaeImageProcessor(do_convert_rgb=True, do_normalize=False).preprocess(picture, height=64, width=96)
    assert torch.equal(as_tensor(fitted(pixels_of(picture, ground=(0, 0, 0)), (96, 64), "crop")), theirs)


def test_few_colours_stay_when_enlarged() -> None:
    assert set(np.unique(resized(stripes(16, 16), (100, 100)))) == {0, 10, 40, 250}


@pytest.mark.parametrize(
    ("picture", "result", "mode", "side"),
    [
        ((400, 200), (512, 512), "crop", 512), ((400, 200), (512, 512), "fill", 256),
        ((400, 200), (512, 512), "stretch", 512), ((64, 64), (64, 64), "crop", 64),
    ],
)  # fmt: skip
def test_pixel_perfect(picture: tuple[int, int], result: tuple[int, int], mode: str, side: int) -> None:
    assert pixel_perfect(picture, result, mode) == side  # type: ignore[arg-type]
    at = at_resolution(stripes(*picture), side)
    scale = {"crop": max, "fill": min, "stretch": max}[mode](result[0] / at.shape[1], result[1] / at.shape[0])
    assert scale == pytest.approx(1.0), "nothing is left to scale"


def test_transparent_parts() -> None:
    clear = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    assert pixels_of(clear, ground=(255, 255, 255)).min() == 255
    assert pixels_of(clear, ground=(0, 0, 0)).max() == 0
    tensor = as_tensor(pixels_of(clear, ground=None))
    assert tensor.shape == (1, 3, 16, 16)
    assert float(tensor.max()) == -1.0, "what is to be drawn anew"


@pytest.mark.parametrize("size", [(1, 1), (7, 100), (1000, 20)])
def test_impossible_shapes_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ControlError) as caught:
        pixels_of(Image.new("RGB", size), ground=(0, 0, 0))
    assert caught.value.code == "control_image_unusable"
