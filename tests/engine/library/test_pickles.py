"""Pickled checkpoints: names are told, payloads are refused and never run."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import ModelFileError
from engine.library.pickles import read_pickle_names


class Payload:
    """What an attacker puts into a checkpoint: a call that runs when the file is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def bad_checkpoint(path: Path, trace: Path, *, legacy: bool = False, protocol: int = 2) -> Path:
    value = {"state_dict": {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(2)}, "x": Payload(trace)}
    torch.save(value, path, _use_new_zipfile_serialization=not legacy, pickle_protocol=protocol)
    return path


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("protocol", [2, 4])
def test_names_of_an_honest_checkpoint(tmp_path: Path, legacy: bool, protocol: int) -> None:
    path = tmp_path / "good.ckpt"
    value = {"state_dict": {"some.weight": torch.zeros(2), "other.weight": torch.zeros(2, dtype=torch.float16)}}
    torch.save(value, path, _use_new_zipfile_serialization=not legacy, pickle_protocol=protocol)
    assert {"some.weight", "other.weight"} <= read_pickle_names(path)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_payload_is_refused_and_does_not_run(tmp_path: Path, legacy: bool, protocol: int) -> None:
    trace = tmp_path / "it ran"
    path = bad_checkpoint(tmp_path / "bad.ckpt", trace, legacy=legacy, protocol=protocol)
    with pytest.raises(ModelFileError) as caught:
        read_pickle_names(path)
    assert caught.value.code == "model_file_unsafe"
    assert not trace.exists()


def test_the_payload_of_this_test_is_real(tmp_path: Path) -> None:
    trace = tmp_path / "it ran"
    torch.load(bad_checkpoint(tmp_path / "bad.ckpt", trace), weights_only=False)
    assert trace.exists()


def test_a_plain_pickle_payload(tmp_path: Path) -> None:
    path, trace = tmp_path / "bad.pt", tmp_path / "it ran"
    path.write_bytes(pickle.dumps(Payload(trace)))
    with pytest.raises(ModelFileError) as caught:
        read_pickle_names(path)
    assert caught.value.code == "model_file_unsafe"
    assert not trace.exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"just text", b"\x80\x02}q\x00("])
def test_files_that_are_no_pickles(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.ckpt"
    path.write_bytes(content)
    with pytest.raises(ModelFileError) as caught:
        read_pickle_names(path)
    assert caught.value.code in {"model_file_truncated", "model_file_not_a_model"}


def test_a_zip_that_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "photos.ckpt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "hello")
    with pytest.raises(ModelFileError) as caught:
        read_pickle_names(path)
    assert caught.value.code == "model_file_not_a_model"
