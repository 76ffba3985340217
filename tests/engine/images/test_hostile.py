"""Files made by people who wish us ill: one error, quickly, and never another exception."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from engine.errors import SpecError
from engine.images.assets import AssetStore
from engine.images.png_text import MAX_TOTAL, SIGNATURE, read_png_texts
from engine.images.recipe import read_recipe
from engine.images.writer import encode_image
from engine.images.xmp import build_packet, join_extension, read_text
from engine.protocol.commands import Recipe
from engine.protocol.specs import GenerationSpec, OutputOptions


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*chunks: bytes, width: int = 1, height: int = 1) -> bytes:
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 4))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return SIGNATURE + header + b"".join(chunks) + pixels + chunk(b"IEND", b"")


def text(key: str, value: str) -> bytes:
    return chunk(b"iTXt", key.encode() + b"\0\0\0\0\0" + value.encode("utf-8", "replace"))


def outcome(data: bytes) -> Recipe | str:
    """The recipe, or the code of the one error that is allowed."""
    try:
        return read_recipe(data)
    except SpecError as error:
        assert error.code in ("image_unreadable", "upload_too_large")  # noqa: PT017
        return error.code


KEYS = ("easel", "parameters", "prompt", "invokeai_metadata")


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    "value",
    [
        "[" * 1_000_000,
        '{"a":' * 500_000,
        '{"prompt":' + "[" * 5_000 + "]" * 5_000 + "}",
        '{"spec": {"prompt": "x", "ext": {"a": ' + "[" * 300 + "]" * 300 + "}}}",
        '{"seed": ' + "9" * 100_000 + "}",
        '{"sui_image_params": {"seed": 1e999, "steps": "1e400", "prompt": "\\ud800"}}',
        '{"prompt": "\\u0000\\ud800", "seed": -5, "steps": true}',
        "\0" * 100_000,
        "{" + '"a":0,' * 200_000 + '"b":0}',
        "x\nSteps: " + "9" * 10_000 + ", Seed: " + "9" * 10_000 + ", CFG scale: nan, Size: 999999999x1, Clip skip: inf",
        '{"sui_image_params": "fooocus", "base_model": []}',
        "null",
    ],
    ids=range(12),
)
def test_hostile_texts(key: str, value: str) -> None:
    result = outcome(png(text(key, value)))
    assert result == "image_unreadable" or isinstance(result, Recipe)


@pytest.mark.parametrize("depth", [50, 150, 254, 400, 900])
def test_nested_extensions_of_a_spec_never_overflow(depth: int) -> None:
    spec = '{"prompt": "x", "ext": {"a": ' + "[" * depth + "]" * depth + "}}"
    result = outcome(png(text("easel", spec)))
    if depth <= 50:
        assert isinstance(result, Recipe)
        assert result.model_dump_json()
    else:
        assert result == "image_unreadable"


def test_a_text_bomb_is_not_inflated() -> None:
    bomb = zlib.compress(b"x" * (200 * 2**20), 9)
    found = read_png_texts(io.BytesIO(png(chunk(b"zTXt", b"parameters\0\0" + bomb), text("easel", "{}"))))
    assert found == {"easel": "{}"}
    assert outcome(png(chunk(b"zTXt", b"parameters\0\0" + bomb))) == "image_unreadable"
    compressed = chunk(b"iTXt", b"parameters\0\1\0\0\0" + bomb)
    assert read_png_texts(io.BytesIO(png(compressed))) == {}


def test_many_texts_stay_within_the_budget() -> None:
    big = zlib.compress(b"x" * (4 * 2**20), 9)
    chunks = [chunk(b"zTXt", f"k{number}\0\0".encode() + big) for number in range(50)]
    found = read_png_texts(io.BytesIO(png(*chunks)))
    assert sum(map(len, found.values())) <= MAX_TOTAL
    assert len(found) == 8


def test_honest_compressed_texts_are_read() -> None:
    found = read_png_texts(
        io.BytesIO(
            png(
                chunk(b"zTXt", b"a\0\0" + zlib.compress(b"one")),
                chunk(b"iTXt", b"b\0\1\0en\0t\0" + zlib.compress("猫".encode())),
            )
        )
    )
    assert found == {"a": "one", "b": "猫"}


def test_a_huge_canvas_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    assert outcome(png(width=60_000, height=60_000)) == "image_unreadable"
    with pytest.raises(SpecError) as caught:
        AssetStore(tmp_path).put(png(width=9_000, height=9_000))
    assert caught.value.code == "upload_too_large"


def test_a_wrong_length_does_not_read_past_the_end() -> None:
    whole = png(text("parameters", "x"))
    at = whole.index(b"iTXt") - 4
    broken = whole[:at] + struct.pack(">I", 2**31) + whole[at + 4 :]
    assert read_png_texts(io.BytesIO(broken)) == {}
    assert isinstance(outcome(broken), (str, Recipe))


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a", b"%PDF-1.7", b"<svg/>", SIGNATURE, b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBPVP8X"]
)
def test_no_pictures(data: bytes, tmp_path: Path) -> None:
    assert outcome(data) == "image_unreadable"
    with pytest.raises(SpecError) as caught:
        AssetStore(tmp_path).put(data)
    assert caught.value.code == "image_unreadable"


def samples() -> list[bytes]:
    made = []
    for image_format in ("png", "webp", "jpeg"):
        options = OutputOptions.model_validate({"format": image_format})
        spec = GenerationSpec(prompt="x" * 100, output=options)
        infotext = "a\nSteps: 1, Seed: 2, CFG scale: 3"
        made.append(
            encode_image(Image.new("RGB", (8, 8)), infotext=infotext, spec_json=spec.model_dump_json(), options=options)
        )
    avif = io.BytesIO()
    Image.new("RGB", (16, 16)).save(avif, "AVIF")
    return [*made, avif.getvalue()]


SAMPLES = samples()


@given(
    st.sampled_from(SAMPLES),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=6),
    st.integers(0, 5000),
)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_are_an_error_or_a_recipe(
    tmp_path: Path, sample: bytes, changes: list[tuple[int, int]], length: int
) -> None:
    data = bytearray(sample)
    for place, value in changes:
        data[place % len(data)] = value
    cut = bytes(data[: max(1, len(data) - length % len(data))]) if length % 3 == 0 else bytes(data)
    outcome(cut)
    try:
        AssetStore(tmp_path).put(cut)
    except SpecError as error:
        assert error.code in ("image_unreadable", "upload_too_large")  # noqa: PT017


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=10,
)
FIELDS = (
    "prompt",
    "uc",
    "steps",
    "scale",
    "seed",
    "sampler",
    "scheduler",
    "width",
    "resolution",
    "loras",
    "loraweights",
    "model",
    "vae",
    "clip_skip",
    "cfg_scale",
    "positive_prompt",
    "full_prompt",
    "base_model",
    "lora_combined_1",
    "sui_image_params",
    "clipstopatlayer",
    "class_type",
    "inputs",
    "spec",
    "schema",
    "ext",
    "output",
    "cfg",
    "latent_image",
    "model_hash",
)
records = st.dictionaries(
    st.sampled_from(FIELDS), json_values | st.dictionaries(st.sampled_from(FIELDS), json_values), max_size=8
)


@given(st.sampled_from([*KEYS, "Comment"]), records | st.dictionaries(st.text(max_size=2), records, max_size=5))
@settings(max_examples=150, deadline=None)
def test_records_of_the_wrong_shape_are_an_error_or_a_recipe(key: str, record: dict[str, Any]) -> None:
    data = png(text("Software", "NovelAI"), text(key, json.dumps(record)))
    result = outcome(data)
    if isinstance(result, Recipe):
        assert Recipe.model_validate_json(result.model_dump_json()) == result


@given(st.text(max_size=300))
def test_any_infotext_is_a_recipe_that_can_be_sent(value: str) -> None:
    result = outcome(png(text("parameters", value + ", a1: 1, b2: 2, Steps: 3, Seed: 4")))
    assert isinstance(result, Recipe)
    assert Recipe.model_validate_json(result.model_dump_json()) == result


@given(st.text())
def test_xmp_texts_survive_and_a_forged_extension_is_ignored(value: str) -> None:
    allowed = "".join(mark for mark in value if ord(mark) >= 32 and mark not in "\ufffe\uffff")
    assert read_text(build_packet({"easel": allowed}), "easel") == allowed
    head = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32 + struct.pack(">II", 5, 0)
    assert join_extension([("APP1", head + b"forged")]) == b""


def test_a_file_of_64_megabytes_is_refused_unread() -> None:
    assert outcome(b"\0" * (64 * 2**20 + 1)) == "upload_too_large"


def test_png_of_pillow_with_all_text_kinds_is_read() -> None:
    info = PngInfo()
    info.add_text("a", "1", zip=True)
    info.add_itxt("b", "猫", zip=True)
    info.add_text("c", "2")
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2)).save(buffer, "PNG", pnginfo=info)
    assert read_png_texts(io.BytesIO(buffer.getvalue())) == {"a": "1", "b": "猫", "c": "2"}
