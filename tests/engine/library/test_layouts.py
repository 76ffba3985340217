"""Folders of other studios are recognised and used in place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.library.layouts import detect_layout, read_extra_model_paths


def make(root: Path, *folders: str, files: tuple[str, ...] = ()) -> Path:
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def kinds(root: Path) -> dict[str, str]:
    return {str(found.path.relative_to(root)): found.kind for found in detect_layout(root)}


@pytest.mark.parametrize(
    ("source", "marks"),
    [
        ("A1111", ("webui.py",)),
        ("Forge", ("webui.py", "modules_forge/main_entry.py")),
        ("SD.Next", ("webui.py", "installer.py")),
    ],
)
def test_a1111_and_its_relatives(tmp_path: Path, source: str, marks: tuple[str, ...]) -> None:
    root = make(
        tmp_path,
        "models/Stable-diffusion",
        "models/Lora",
        "models/VAE",
        "models/ControlNet",
        "models/ESRGAN",
        "models/VAE-approx",
        "embeddings",
        files=marks,
    )
    assert kinds(root) == {
        "models/Stable-diffusion": "checkpoint",
        "models/Lora": "adapter",
        "models/VAE": "vae",
        "models/ControlNet": "controlnet",
        "models/ESRGAN": "upscaler",
        "embeddings": "embedding",
    }
    assert {found.source for found in detect_layout(root)} == {source}


def test_comfyui(tmp_path: Path) -> None:
    root = make(tmp_path, "models/checkpoints", "models/loras", "models/vae", "models/clip", "custom_nodes")
    assert kinds(root) == {"models/checkpoints": "checkpoint", "models/loras": "adapter", "models/vae": "vae"}
    assert detect_layout(root)[0].source == "ComfyUI"


def test_a_models_folder_alone(tmp_path: Path) -> None:
    assert kinds(make(tmp_path, "checkpoints", "loras")) == {"checkpoints": "checkpoint", "loras": "adapter"}


def test_invokeai_is_told_by_headers(tmp_path: Path) -> None:
    root = make(tmp_path, "models/sdxl/main", "autoimport", files=("invokeai.yaml",))
    assert kinds(root) == {"models": "checkpoint", "autoimport": "checkpoint"}


def test_extra_model_paths(tmp_path: Path) -> None:
    other = make(tmp_path / "other", "models/Stable-diffusion", "models/Lora", "models/LyCORIS")
    root = make(tmp_path / "comfy", "models/checkpoints")
    (root / "extra_model_paths.yaml").write_text(
        f"""
# a comment
a111:
    base_path: {other}
    checkpoints: models/Stable-diffusion
    loras: |
         models/Lora
         models/LyCORIS
    vae: models/not-there
    is_default: true
here:
    checkpoints: models/checkpoints
"""
    )
    found = {(each.path.name, each.kind) for each in detect_layout(root)}
    assert found == {
        ("checkpoints", "checkpoint"),
        ("Stable-diffusion", "checkpoint"),
        ("Lora", "adapter"),
        ("LyCORIS", "adapter"),
    }


@pytest.mark.parametrize(
    "text", ["a: [", "- 1\n- 2", "", "a: 3", "a:\n  checkpoints: 5", "!!python/object:os.system {}"]
)
def test_a_strange_yaml_names_nothing(tmp_path: Path, text: str) -> None:
    file = tmp_path / "extra_model_paths.yaml"
    file.write_text(text)
    assert read_extra_model_paths(file) == []


def test_an_ordinary_folder_is_none_of_them(tmp_path: Path) -> None:
    assert detect_layout(make(tmp_path, "pictures")) == []
    assert detect_layout(tmp_path / "not there") == []


def test_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, engine.library.layouts as l, engine.library.library; "
        f"l.detect_layout(pathlib.Path({str(tmp_path)!r})); "
        "print([name for name in ('torch', 'transformers', 'diffusers', 'huggingface_hub') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
