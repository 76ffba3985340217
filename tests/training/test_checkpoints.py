"""Checkpoints survive a full disk and a crash, and refuse another configuration."""

from __future__ import annotations

import subprocess
import sys
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


FULL = """
import resource, signal, sys
from pathlib import Path
import numpy as np, torch
from PIL import Image
from safetensors.torch import save_file
from training.errors import RecipeError
from training.files import write_atomically

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))  # what comes after is refused, as on a full disk
folder, values = Path(sys.argv[1]), torch.randn(100_000)
writers = {
    "a.safetensors": lambda target: save_file({"a": values}, target),
    "b.pt": lambda target: torch.save(values, target),
    "c.txt": lambda target: target.write_text("x" * 100_000),
    "d.npz": lambda target: np.savez_compressed(target, a=values.numpy()),
    "e.png": lambda target: Image.fromarray((values[:90_000] * 99).byte().numpy().reshape(300, 300)).save(target),
}
for name, write in writers.items():
    try:
        write_atomically(folder / name, write)
        print(name, "was written")
    except RecipeError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the limit on a file's size is of POSIX")
def test_no_library_leaves_half_a_file_where_the_disk_is_full(tmp_path: Path) -> None:
    for name in ("a.safetensors", "b.pt"):
        (tmp_path / name).write_bytes(b"old")
    command = [sys.executable, "-c", FULL, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    said = done.stdout.strip().splitlines()
    assert len(said) == 5
    assert all("could not be written" in line and line.endswith("Is the disk full?") for line in said), said
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.safetensors": b"old", "b.pt": b"old"}


def test_other_settings_are_named(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pt", {"weights": torch.zeros(2)}, {"width": 8, "seed": 1})
    with pytest.raises(RecipeError, match=r"another configuration \(width differ\)"):
        load_checkpoint(tmp_path / "a.pt", {"width": 16, "seed": 1})


def test_none_and_damaged(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "none.pt", {}) is None
    (tmp_path / "bad.pt").write_bytes(b"PK half a file")
    with pytest.raises(RecipeError, match=r"bad\.pt is damaged"):
        load_checkpoint(tmp_path / "bad.pt", {})
