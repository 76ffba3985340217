"""Assets: kept by content, upright, without metadata, within limits."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.errors import NotFoundError, SpecError
from engine.images import assets
from engine.images.assets import AssetStore


def encoded(image: Image.Image, image_format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def picture(mode: str = "RGB") -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 255, (6, 8, 3), dtype=np.uint8)).convert(mode)


def test_the_same_picture_is_kept_once_under_its_hash(tmp_path: Path) -> None:
    store = AssetStore(tmp_path)
    first = store.put(encoded(picture()))
    again = store.put(encoded(picture(), "BMP"))
    assert first == again
    assert (first.width, first.height, first.media_type) == (8, 6, "image/png")
    file = store.path(first.ref)
    assert first.ref == "asset:" + hashlib.sha256(file.read_bytes()).hexdigest()
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1
    assert Image.open(file).tobytes() == picture().tobytes()


def test_metadata_is_stripped_after_turning_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "secret camera"
    store = AssetStore(tmp_path)
    ref = store.put(encoded(picture(), "JPEG", exif=exif, comment=b"secret comment", icc_profile=b"secret profile"))
    kept = Image.open(store.path(ref.ref))
    assert kept.size == (6, 8)
    assert (ref.width, ref.height) == (6, 8)
    assert b"secret" not in store.path(ref.ref).read_bytes()
    assert "exif" not in kept.info


@pytest.mark.parametrize(
    ("mode", "kept"), [("RGB", "RGB"), ("RGBA", "RGBA"), ("L", "L"), ("LA", "RGBA"), ("P", "RGB"), ("1", "L")]
)
def test_modes(tmp_path: Path, mode: str, kept: str) -> None:
    store = AssetStore(tmp_path)
    assert Image.open(store.path(store.put(encoded(picture(mode))).ref)).mode == kept


def test_cmyk_and_16_bit_depth_maps_are_scaled_not_clipped(tmp_path: Path) -> None:
    store = AssetStore(tmp_path)
    depth = Image.fromarray(np.array([[0, 256 * 100, 65535]], dtype=np.uint16))
    kept = Image.open(store.path(store.put(encoded(depth)).ref))
    assert (kept.mode, list(kept.tobytes())) == ("L", [0, 100, 255])
    assert Image.open(store.path(store.put(encoded(picture("CMYK"), "JPEG")).ref)).mode == "RGB"


def test_transparency_of_a_palette_is_kept(tmp_path: Path) -> None:
    store = AssetStore(tmp_path)
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    ref = store.put(encoded(image, "GIF", transparency=0))
    kept = Image.open(store.path(ref.ref))
    assert kept.mode == "RGBA"
    assert [kept.getpixel((x, 0)) for x in range(2)] == [(255, 0, 0, 0), (0, 255, 0, 255)]


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = AssetStore(tmp_path)
    with pytest.raises(SpecError) as caught:
        store.put(b"\0" * (25 * 2**20 + 1))
    assert caught.value.code == "upload_too_large"
    monkeypatch.setattr(assets, "MAX_PIXELS", 47)
    with pytest.raises(SpecError) as caught:
        store.put(encoded(picture()))
    assert caught.value.code == "upload_too_large"


@pytest.mark.parametrize(
    "ref", ["", "asset:", "asset:../../etc/passwd", "asset:" + "0" * 64, "asset:" + "0" * 64 + "\n", "x"]
)
def test_unknown_references(tmp_path: Path, ref: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        AssetStore(tmp_path).path(ref)
    assert caught.value.code == "asset_unknown"
