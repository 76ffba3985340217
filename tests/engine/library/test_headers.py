"""Headers of model files from strangers: every bad one is a ModelFileError with one sentence, quickly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from engine.errors import ModelFileError
from engine.library.headers import HEADER_LIMIT, read_header


def file_with(path: Path, header: Any, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def entry(start: int = 0, end: int = 8, shape: list[int] | None = None, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": [2] if shape is None else shape, "data_offsets": [start, end]}


def refusal(path: Path) -> ModelFileError:
    with pytest.raises(ModelFileError) as caught:
        read_header(path)
    assert path.name in caught.value.message
    assert caught.value.message.endswith(".")
    return caught.value


def test_a_real_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "real.safetensors"
    save_file({"a": torch.zeros(2, 3), "b": torch.zeros(4, dtype=torch.float16)}, path, metadata={"format": "pt"})
    header = read_header(path)
    assert {name: (info.dtype, info.shape) for name, info in header.tensors.items()} == {
        "a": ("F32", (2, 3)),
        "b": ("F16", (4,)),
    }
    assert header.metadata == {"format": "pt"}
    assert header.size == path.stat().st_size


def test_truncated_data(tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    save_file({"a": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:-100])
    assert refusal(path).code == "model_file_truncated"


def test_truncated_header(tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    save_file({"a": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:20])
    assert refusal(path).code == "model_file_truncated"


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.safetensors"
    path.write_bytes(b"")
    assert refusal(path).code == "model_file_truncated"


@pytest.mark.parametrize("text", ["version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "<html>404", "hi"])
def test_text_files(tmp_path: Path, text: str) -> None:
    path = tmp_path / "text.safetensors"
    path.write_text(text)
    assert refusal(path).code == "model_file_not_a_model"


def test_a_text_file_is_called_one(tmp_path: Path) -> None:
    path = tmp_path / "text.safetensors"
    path.write_text("This is not a model at all.")
    assert "text file" in refusal(path).message


def test_a_giant_header_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "giant.safetensors"
    with path.open("wb") as file:
        file.write((HEADER_LIMIT + 1).to_bytes(8, "little"))
        file.truncate(HEADER_LIMIT + 100)  # sparse: nothing is really written
    assert refusal(path).code == "model_file_not_a_model"


@pytest.mark.parametrize(
    "header",
    [
        b"[1, 2]",
        b"not json",
        b"[" * 5000,
        b"\xff\xfe{}",
        {"a": 3},
        {"a": {"dtype": "F32", "shape": [2]}},
        {"a": {"dtype": 4, "shape": [2], "data_offsets": [0, 8]}},
        {"a": entry(shape=[-2])},
        {"a": entry(shape=[3])},
        {"a": entry(start=8, end=0)},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8, 9]}},
        {"a": {"dtype": "F32", "shape": [True, True], "data_offsets": [0, 4]}},
        {"a": entry(), "b": entry()},
        {"a": entry(), "b": entry(start=12, end=20)},
        {"__metadata__": [], "a": entry()},
    ],
)
def test_damaged_headers(tmp_path: Path, header: Any) -> None:
    path = file_with(tmp_path / "bad.safetensors", header, bytes(8))
    assert refusal(path).code == "model_file_not_a_model"


def test_overlapping_tensors(tmp_path: Path) -> None:
    path = file_with(tmp_path / "bad.safetensors", {"a": entry(0, 8), "b": entry(4, 12)}, bytes(12))
    assert "overlap" in refusal(path).message


@pytest.mark.parametrize("length", [0x80, 0x280, 0x480, 0x1080])
def test_a_header_whose_length_begins_like_a_pickle(length: int, tmp_path: Path) -> None:
    """One in 32 files has such a length."""
    text = json.dumps({"a": entry()}).encode()
    path = file_with(tmp_path / "it.safetensors", text + b" " * (length - len(text)), bytes(8))
    assert path.read_bytes()[0] == 0x80
    assert list(read_header(path).tensors) == ["a"]


def test_a_pickle_by_another_name(tmp_path: Path) -> None:
    path = tmp_path / "renamed.safetensors"
    torch.save({"a": torch.zeros(2)}, path)
    assert "pickle" in refusal(path).message


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    assert refusal(tmp_path / "gone.safetensors").code == "model_file_missing"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_what_is_accepted_is_what_safetensors_accepts(tmp_path: Path, data: st.DataObject) -> None:
    """Change some bytes of a real file: Easel refuses with its own error, or safetensors reads it too."""
    path = tmp_path / "changed.safetensors"
    save_file({"a": torch.zeros(3), "b": torch.zeros(2, 2)}, path)
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    try:
        header = read_header(path)
    except ModelFileError:
        return
    try:
        with safe_open(path, framework="pt") as file:
            assert set(file.keys()) == set(header.tensors)
    except SafetensorError:
        # Some more than Easel's check, such as types that only it knows: the loader maps this error too.
        return


def test_a_header_whose_length_starts_like_a_pickle_is_read(tmp_path: Path) -> None:
    """Headers are padded to eight bytes, so one in 32 has a length whose first byte is 0x80."""
    for extra in range(0, 256, 8):
        path = tmp_path / f"{extra}.safetensors"
        save_file({"a": torch.zeros(2)}, path, metadata={"note": "x" * extra})
        assert read_header(path).tensors["a"].shape == (2,)
