"""Pictures that go out and come in."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.running_studio import RunningStudio
from webui.thumbs import WIDTHS, Thumbs, make_thumbnail


def test_a_picture_is_served_for_ever_and_in_parts(studio: RunningStudio, picture: dict[str, Any]) -> None:
    whole = studio.http.get(picture["url"])
    assert whole.headers["content-type"] == "image/png"
    assert "immutable" in whole.headers["cache-control"]
    assert "sandbox" in whole.headers["content-security-policy"]
    part = studio.http.get(picture["url"], headers={"Range": "bytes=0-7"})
    assert (part.status_code, part.content) == (206, b"\x89PNG\r\n\x1a\n")
    assert Image.open(io.BytesIO(whole.content)).size == (picture["width"], picture["height"])
    assert studio.http.get(picture["url"], headers={"If-None-Match": whole.headers["etag"]}).status_code in (200, 304)


@pytest.mark.parametrize(
    "name",
    [".easel/studio.db", "../config.toml", "%2e%2e/config.toml", "..%2fconfig.toml", ".easel/../.easel/studio.db",
     "/etc/passwd", "%2fetc%2fpasswd", "a%00b", "..\\config.toml", "stray.png", "./x"],
)  # fmt: skip
def test_nothing_else_of_the_folder_is_served(studio: RunningStudio, name: str) -> None:
    (studio.settings.outputs_dir / "stray.png").write_bytes(b"\x89PNG")
    for place in ("outputs", "thumbs"):
        assert studio.http.get(f"/{place}/{name}").status_code == 404


def test_thumbnails_are_small_and_kept(studio: RunningStudio, picture: dict[str, Any]) -> None:
    url = str(picture["url"]).replace("/outputs/", "/thumbs/")
    answer = studio.http.get(url, params={"w": 20})
    assert answer.headers["content-type"] == "image/webp"
    assert Image.open(io.BytesIO(answer.content)).width == min(WIDTHS[0], int(picture["width"]))
    kept = list((studio.settings.state_dir / "thumbs").glob("*.webp"))
    assert kept
    assert studio.http.get(url, params={"w": 21}).content == answer.content
    assert len(list((studio.settings.state_dir / "thumbs").iterdir())) == len(kept)


def test_thumbnails_keep_shape_and_transparency(tmp_path: Path) -> None:
    source = tmp_path / "wide.png"
    Image.new("RGBA", (1000, 10), (255, 0, 0, 0)).save(source)
    make_thumbnail(source, tmp_path / "t.webp", 256)
    with Image.open(tmp_path / "t.webp") as small:
        assert small.size == (256, 3)
        assert small.mode == "RGBA"


def test_old_thumbnails_make_room(tmp_path: Path) -> None:
    import os

    for number in range(10):
        file = tmp_path / f"{number}.webp"
        file.write_bytes(b"x")
        os.utime(file, (number, number))
    Thumbs(tmp_path).trim(keep=3)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["7.webp", "8.webp", "9.webp"]


def png(size: tuple[int, int] = (40, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (10, 200, 30)).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_picture_can_be_kept_and_fetched(studio: RunningStudio) -> None:
    raw = studio.http.post("/api/v1/assets", content=png(), headers={"Content-Type": "image/png"})
    assert raw.status_code == 201
    ref = raw.json()
    assert (ref["width"], ref["height"]) == (40, 30)
    form = studio.http.post("/api/v1/assets", files={"file": ("x.png", png(), "image/png")})
    assert form.json()["ref"] == ref["ref"]
    back = studio.http.get(f"/api/v1/assets/{ref['ref'].removeprefix('asset:')}")
    assert Image.open(io.BytesIO(back.content)).size == (40, 30)


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"content": b""}, 422),
        ({"content": b"not a picture"}, 422),
        ({"content": png()[:60]}, 422),
        ({"data": {"file": "text"}, "files": {}}, 422),
        ({"content": b"--x", "headers": {"Content-Type": "multipart/form-data"}}, 400),
        ({"content": b"junk", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, 400),
        ({"content": b"x" * (27 * 1024 * 1024)}, 413),
    ],
)
def test_other_things_are_refused(studio: RunningStudio, options: dict[str, Any], status: int) -> None:
    answer = studio.http.post("/api/v1/assets", **options)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["message"]


def test_settings_come_back_out_of_a_picture(studio: RunningStudio, picture: dict[str, Any]) -> None:
    data = studio.http.get(picture["url"]).content
    recipe = studio.http.post("/api/v1/recipe", content=data).json()
    assert recipe["spec"]["seed"] == picture["seed"]
    assert recipe["spec"]["prompt"] == picture["spec"]["prompt"]
    words = "a cat\nSteps: 9, Sampler: Euler a, CFG scale: 5, Seed: 3, Size: 64x64"
    for options in ({"json": {"text": words}}, {"content": words, "headers": {"Content-Type": "text/plain"}}):
        read = studio.http.post("/api/v1/recipe", **options).json()  # type: ignore[arg-type]
        assert (read["spec"]["steps"], read["spec"]["seed"]) == (9, 3)
