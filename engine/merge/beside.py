"""What lies beside a model's weights, carried over to the model that is made of it, under its new name."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

_WEIGHTS = (".safetensors", ".bin", ".ckpt", ".pt", ".pth")
_SETTINGS = "easel.toml"
_NAME = re.compile(r"(?m)^name\s*=.*$")


def copy_rest(source: Path, target: Path, chosen: Mapping[str, Path]) -> None:
    """Everything of a diffusers folder but the weights of the changed parts, of which only the new ones may lie there.

    Folders that are no parts of the model (adapters, ControlNets that came along) are not its own and stay behind.
    """
    parts = set(json.loads((source / "model_index.json").read_text("utf-8")))
    for file in sorted(source.rglob("*")):
        inside = file.relative_to(source)
        if not file.is_file() or any(part.startswith(".") for part in inside.parts):
            continue
        if len(inside.parts) > 1 and inside.parts[0] not in parts:
            continue
        if inside.parts[0] in chosen and (file.suffix in _WEIGHTS or file.name.endswith(".index.json")):
            continue
        (target / inside).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target / inside)


def rename_folder(folder: Path, name: str) -> None:
    """Let a copied folder's own settings say the new name."""
    settings = folder / _SETTINGS
    if settings.is_file():
        settings.write_text(renamed(settings.read_text("utf-8"), name), encoding="utf-8")


def copy_beside(source: Path, out: Path) -> None:
    """A single file's configs and settings; those that lie there already are left alone."""
    configs = source.with_suffix(".config")
    if configs.is_dir() and not out.with_suffix(".config").exists():
        shutil.copytree(configs, out.with_suffix(".config"))
    settings, target = source.with_suffix(f".{_SETTINGS}"), out.with_suffix(f".{_SETTINGS}")
    if settings.is_file() and not target.exists():
        target.write_text(renamed(settings.read_text("utf-8"), out.stem), encoding="utf-8")


def beside(file: Path) -> list[Path]:
    """What `copy_beside` made for a file, for whoever takes it away."""
    return [each for each in (file.with_suffix(".config"), file.with_suffix(f".{_SETTINGS}")) if each.exists()]


def renamed(settings: str, name: str) -> str:
    """The settings (TOML) with another `name`."""
    return _NAME.sub(lambda _: f"name = {json.dumps(name, ensure_ascii=False)}", settings, count=1)
