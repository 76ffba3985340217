"""Writing: every format carries both texts exactly, whole or not at all, and a refusing disk has a name."""

from __future__ import annotations

import errno
import io
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.errors import StorageError
from engine.images import disk
from engine.images.disk import remove_leftovers
from engine.images.embedded import embed, read_embedded
from engine.images.recipe import read_recipe
from engine.images.writer import encode_image, write_image
from engine.protocol.jobs import ImageView
from engine.protocol.specs import GenerationSpec, OutputOptions
from tests.engine.images.spec_strategies import any_specs

FORMATS = ("png", "webp", "jpeg")


def picture(width: int = 24, height: int = 16) -> Image.Image:
    pixels = np.random.default_rng(7).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def view_of(spec: GenerationSpec, infotext: str = "") -> ImageView:
    return ImageView(
        id="0123456789abcdef0123456789abcdef",
        job_id="job",
        job_index=3,
        name="n.png",
        url="/outputs/n.png",
        seed=spec.seed or 0,
        width=24,
        height=16,
        created_at=1700000000.5,
        spec=spec,
        infotext=infotext,
        seconds=1.5,
    )


@pytest.mark.parametrize("image_format", FORMATS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_spec_to_file_and_back_is_exact(image_format: str, data: st.DataObject) -> None:
    spec = data.draw(any_specs(image_format))
    infotext = data.draw(st.text(min_size=1).filter(lambda text: text == text.strip("\0")))
    view = view_of(spec, infotext)
    made = encode_image(picture(), infotext=infotext, spec_json=embed(view), options=spec.output)
    recipe = read_recipe(made)
    assert recipe.spec == spec
    assert recipe.source == "easel"
    assert recipe.infotext == infotext
    assert recipe.notices == ()


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("letter", ["x", "猫", "🐈"])
def test_the_longest_prompts_fit_every_format(image_format: str, letter: str) -> None:
    spec = GenerationSpec(
        prompt=letter * 20_000, negative_prompt=letter * 20_000, seed=1, output=OutputOptions(format=image_format)
    )
    infotext = f"{spec.prompt}\nNegative prompt: {spec.negative_prompt}\nSteps: 1, Seed: 1, RNG: CPU"
    data = encode_image(picture(), infotext=infotext, spec_json=embed(view_of(spec)), options=spec.output)
    recipe = read_recipe(data)
    assert recipe.spec == spec
    assert recipe.infotext == infotext
    Image.open(io.BytesIO(data)).load()


def test_png_pixels_and_chunks_are_those_that_other_tools_read() -> None:
    data = encode_image(picture(), infotext="a cat\nSteps: 1", spec_json="{}", options=OutputOptions())
    opened = Image.open(io.BytesIO(data))
    assert opened.info["parameters"] == "a cat\nSteps: 1"
    assert opened.info["easel"] == "{}"
    assert opened.tobytes() == picture().tobytes()
    assert b"tEXtparameters\0a cat" in data
    assert b"iTXtparameters" in encode_image(picture(), infotext="猫", spec_json="{}", options=OutputOptions())


@pytest.mark.parametrize("image_format", ["webp", "jpeg"])
def test_user_comment_is_utf16_big_endian_of_the_type_that_the_standard_asks(image_format: str) -> None:
    options = OutputOptions.model_validate({"format": image_format})
    data = encode_image(picture(), infotext="a 猫", spec_json="{}", options=options)
    payload = b"UNICODE\0" + "a 猫".encode("utf-16-be")
    assert struct.pack(">HHI", 0x9286, 7, len(payload)) in data
    assert payload in data


def test_alpha_and_grey_pictures_can_be_written_in_every_format() -> None:
    for mode in ("RGBA", "L"):
        for image_format in FORMATS:
            options = OutputOptions.model_validate({"format": image_format})
            assert encode_image(picture().convert(mode), infotext="x", spec_json="{}", options=options)


def test_quality_is_obeyed() -> None:
    sizes = [
        len(encode_image(picture(64, 64), infotext="", spec_json="{}", options=OutputOptions(format="jpeg", quality=q)))
        for q in (10, 95)
    ]
    assert sizes[0] < sizes[1]


def write(target: Path) -> None:
    write_image(picture(), target, infotext="x", spec_json="{}", options=OutputOptions())


def test_writing_makes_the_folder_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.png"
    write(target)
    write(target)
    assert [file.name for file in target.parent.iterdir()] == ["a.png"]
    assert target.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "disk_full"),
        (errno.EDQUOT, "disk_full"),
        (errno.EROFS, "disk_read_only"),
        (errno.EACCES, "disk_read_only"),
        (errno.EIO, "disk_error"),
    ],
)
@pytest.mark.parametrize("at", ["fsync", "replace"])
def test_a_refusing_disk_is_named_and_the_old_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: str, at: str
) -> None:
    target = tmp_path / "a.png"
    target.write_bytes(b"old")

    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(disk.os, at, refuse)
    with pytest.raises(StorageError) as caught:
        write(target)
    assert caught.value.code == code
    assert str(tmp_path) not in str(caught.value)
    assert target.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


def test_a_file_where_the_folder_should_be_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("not a folder")
    with pytest.raises(StorageError):
        write(tmp_path / "outputs" / "a.png")


@pytest.mark.skipif(
    not Path("/dev/full").exists() or os.geteuid() != 0, reason="needs root on Linux to mount a small disk"
)
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if os.system(f"mount -t tmpfs -o size=16k tmpfs {small} 2>/dev/null") != 0:
        pytest.skip("this machine does not let a test mount a small disk")
    try:
        with pytest.raises(StorageError) as caught:
            write_image(picture(256, 256), small / "a.png", infotext="x", spec_json="{}", options=OutputOptions())
        assert caught.value.code == "disk_full"
        assert list(small.iterdir()) == []
        os.system(f"mount -o remount,ro {small}")
        with pytest.raises(StorageError) as caught:
            write(small / "a.png")
        assert caught.value.code == "disk_read_only"
    finally:
        os.system(f"umount {small}")


def test_leftovers_of_a_killed_process_are_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".easel-0011223344556677.tmp").write_bytes(b"half")
    (tmp_path / "a.png").write_bytes(b"whole")
    assert remove_leftovers(tmp_path) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


def test_a_record_of_a_newer_version_is_read_without_what_is_new() -> None:
    text = '{"id": "x", "spec": {"schema": 9, "prompt": "cat", "seed": 4, "aura": 3, "steps": "many"}}'
    record = read_embedded(text)
    assert (record.spec.prompt, record.spec.seed, record.spec.steps) == ("cat", 4, None)
    assert record.facts == {"id": "x"}
    assert "aura" in record.notices[0].message
    assert "steps" in record.notices[0].message
