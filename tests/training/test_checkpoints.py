"""Checkpoints survive a full disk and a crash, and refuse another configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training import files
from training.checkpoints import load_checkpoint, save_checkpoint
from training.errors import RecipeError


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "base.pt"
    save_checkpoint(path, {"step": 1}, {"width": 8})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(RecipeError, match=r"could not be written.*Is the disk full"):
        save_checkpoint(path, {"step": 2}, {"width": 8})
    monkeypatch.undo()
    assert load_checkpoint(path, {"width": 8}) == {"step": 1}
    assert [item.name for item in tmp_path.iterdir()] == ["base.pt"]


def test_a_torch_write_error_is_one_sentence(tmp_path: Path) -> None:
    def write(target: Path) -> None:
        target.write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file")

    with pytest.raises(RecipeError, match=r"x\.pt could not be written"):
        files.write_atomically(tmp_path / "x.pt", write)
    assert not list(tmp_path.iterdir())


def test_other_settings_are_named(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pt", {"weights": torch.zeros(2)}, {"width": 8, "seed": 1})
    with pytest.raises(RecipeError, match=r"another configuration \(width differ\)"):
        load_checkpoint(tmp_path / "a.pt", {"width": 16, "seed": 1})


def test_none_and_damaged(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "none.pt", {}) is None
    (tmp_path / "bad.pt").write_bytes(b"PK half a file")
    with pytest.raises(RecipeError, match=r"bad\.pt is damaged"):
        load_checkpoint(tmp_path / "bad.pt", {})
