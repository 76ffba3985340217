"""Rebuilding the history from files alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from engine.images.embedded import embed
from engine.images.scan import read_image_file, scan_folder
from engine.images.writer import write_image
from engine.protocol.jobs import ImageView
from engine.protocol.specs import GenerationSpec, OutputOptions

INFOTEXT = "a cat\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 6, Size: 512x512"


def made(folder: Path, name: str, image_format: str = "png") -> ImageView:
    options = OutputOptions.model_validate({"format": image_format})
    spec = GenerationSpec(prompt="a cat", seed=4, steps=5, output=options)
    view = ImageView(
        id="0123456789abcdef0123456789abcdef",
        job_id="job-7",
        job_index=2,
        name=name,
        url=f"/outputs/{name}",
        seed=4,
        width=16,
        height=8,
        created_at=1700000000.25,
        spec=spec,
        infotext=INFOTEXT,
        seconds=2.5,
    )
    image = Image.new("RGB", (16, 8))
    write_image(image, folder / name, infotext=INFOTEXT, spec_json=embed(view), options=options)
    return view


@pytest.mark.parametrize(("image_format", "suffix"), [("png", "png"), ("webp", "webp"), ("jpeg", "jpg")])
def test_a_view_comes_back_whole(tmp_path: Path, image_format: str, suffix: str) -> None:
    view = made(tmp_path, f"a.{suffix}", image_format)
    assert read_image_file(tmp_path / view.name) == view


def test_a_renamed_picture_is_the_same_picture_under_its_new_name(tmp_path: Path) -> None:
    view = made(tmp_path, "a.png")
    (tmp_path / "a.png").rename(tmp_path / "my cat.png")
    found = read_image_file(tmp_path / "my cat.png")
    assert found == view.model_copy(update={"name": "my cat.png", "url": "/outputs/my%20cat.png"})


def foreign(path: Path, infotext: str = INFOTEXT) -> None:
    info = PngInfo()
    info.add_text("parameters", infotext)
    Image.new("RGB", (32, 24)).save(path, pnginfo=info)
    os.utime(path, (1600000000, 1600000000))


def test_a1111_files_get_a_stable_id_and_the_files_time(tmp_path: Path) -> None:
    foreign(tmp_path / "00001-6.png")
    first, again = (read_image_file(tmp_path / "00001-6.png") for _ in range(2))
    assert first is not None
    assert first == again
    assert (first.seed, first.width, first.height, first.created_at) == (6, 32, 24, 1600000000)
    assert (first.job_id, first.spec.prompt, first.infotext) == ("", "a cat", INFOTEXT)


def test_a_damaged_record_falls_back_to_the_infotext(tmp_path: Path) -> None:
    write_image(
        Image.new("RGB", (8, 8)), tmp_path / "a.png", infotext=INFOTEXT, spec_json="{half", options=OutputOptions()
    )
    found = read_image_file(tmp_path / "a.png")
    assert found is not None
    assert found.spec.seed == 6


def test_what_has_no_settings_is_left_out(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.webp").touch()
    assert read_image_file(tmp_path / "plain.png") is None
    assert read_image_file(tmp_path / "text.png") is None
    assert read_image_file(tmp_path / "empty.webp") is None
    assert read_image_file(tmp_path / "missing.png") is None


def test_a_folder_is_walked_in_order_without_hidden_ones(tmp_path: Path) -> None:
    made(tmp_path, "b.png")
    made(tmp_path, "a.jpg", "jpeg")
    (tmp_path / "sub").mkdir()
    foreign(tmp_path / "sub" / "c.PNG")
    (tmp_path / ".easel").mkdir()
    made(tmp_path / ".easel", "hidden.png")
    (tmp_path / "notes.txt").write_text("x")
    assert [view.name for view in scan_folder(tmp_path)] == ["a.jpg", "b.png", "sub/c.PNG"]


def test_a_cut_file_still_tells_its_settings(tmp_path: Path) -> None:
    view = made(tmp_path, "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: data.index(b"IDAT") + 6])
    assert read_image_file(tmp_path / "a.png") == view
