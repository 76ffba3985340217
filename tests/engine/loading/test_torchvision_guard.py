"""The guard in real processes: it mends a torchvision that does not fit torch, and leaves a healthy one alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

INIT = """
import torch
try:
    torch.ops.load_library("nothing")
except OSError:
    pass

@torch.library.register_fake("torchvision::nms")
def nms(dets, scores, iou_threshold):
    return dets
"""


def run(code: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).resolve().parents[3]
    places = [str(place) for place in (path, root) if place is not None]
    code = f"import sys; sys.path[:0] = {places!r}\n{code}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)


def broken(folder: Path) -> Path:
    """A torchvision that fails as the real one does when its library does not load."""
    (folder / "torchvision").mkdir()
    (folder / "torchvision" / "__init__.py").write_text(INIT)
    (folder / "torchvision" / "_C.so").write_bytes(b"built for another torch")
    return folder


def test_a_torchvision_that_does_not_fit_fails_without_the_guard(tmp_path: Path) -> None:
    done = run("import torchvision", broken(tmp_path))
    assert done.returncode != 0
    assert "torchvision::nms does not exist" in done.stderr


def test_the_guard_mends_it(tmp_path: Path) -> None:
    code = (
        "from engine.loading.torchvision_guard import guard_torchvision\n"
        "assert len(guard_torchvision()) == 1 and guard_torchvision() is guard_torchvision()\n"
        "import gc; gc.collect()\nimport torchvision; print('imported')"
    )
    done = run(code, broken(tmp_path))
    assert done.stdout.strip() == "imported", done.stderr


def test_a_healthy_torchvision_is_left_alone(tmp_path: Path) -> None:
    """Nothing is registered where the package is absent, or where its operators are there."""
    absent = (
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'torchvision' else find(name, *a)\n"
        "from engine.loading.torchvision_guard import guard_torchvision\nprint(guard_torchvision())"
    )
    assert run(absent).stdout.strip() == "()"
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text("")
    present = (
        "import torch; keep = torch.library.Library('torchvision', 'DEF')\n"
        "for name in ('nms', 'qnms'): keep.define(name + '(Tensor a, Tensor b, float c) -> Tensor')\n"
        "from engine.loading.torchvision_guard import guard_torchvision\nprint(guard_torchvision())"
    )
    assert run(present, tmp_path).stdout.strip() == "()"


def test_transformers_imports_in_this_very_environment() -> None:
    code = (
        "from engine.loading.torchvision_guard import guard_torchvision; guard_torchvision()\n"
        "from transformers import CLIPTextModel, CLIPTokenizer; print('imported')"
    )
    done = run(code)
    assert done.stdout.strip() == "imported", done.stderr
