"""Folders of other studios, used in place: A1111, Forge, SD.Next, SwarmUI, ComfyUI, InvokeAI. No torch.

`detect_layout` only looks at names of folders; nothing is moved or written. ComfyUI's `extra_model_paths.yaml` is
read too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.protocol.library import FileKind

_NAMES: dict[str, FileKind] = {
    "stable-diffusion": "checkpoint",
    "checkpoints": "checkpoint",
    "diffusers": "checkpoint",
    "lora": "adapter",
    "loras": "adapter",
    "lycoris": "adapter",
    "vae": "vae",
    "vae-approx": "unknown",
    "controlnet": "controlnet",
    "ipadapter": "controlnet",
    "ip-adapter": "controlnet",
    "embeddings": "embedding",
    "embedding": "embedding",
    "esrgan": "upscaler",
    "realesrgan": "upscaler",
    "upscale_models": "upscaler",
    "upscale-models": "upscaler",
    "upscaler": "upscaler",
    "upscalers": "upscaler",
}


@dataclass(frozen=True)
class FoundFolder:
    """A folder with files of (mostly) one kind; `source` is the studio it belongs to, in words."""

    kind: FileKind
    path: Path
    source: str


def detect_layout(folder: Path) -> list[FoundFolder]:
    """The model folders inside `folder`, which is a studio's own folder or its models folder; [] if it is neither."""
    folder = folder.expanduser()
    if not folder.is_dir():
        return []
    source = _source(folder)
    if source == "InvokeAI":
        # Invoke keeps every kind in one tree, under ids or base/type folders: the headers tell which is which.
        return [
            FoundFolder("checkpoint", path, source)
            for path in (folder / "models", folder / "autoimport")
            if path.is_dir()
        ]
    found: list[FoundFolder] = []
    for base in (folder, *_children(folder, "models")):
        for child in sorted(base.iterdir()):
            kind = _NAMES.get(child.name.lower())
            part_of_model = (base / "model_index.json").is_file() and (child / "config.json").is_file()
            if child.is_dir() and kind is not None and kind != "unknown" and not part_of_model:
                found.append(FoundFolder(kind, child, source))
    for name in ("extra_model_paths.yaml", "extra_models_config.yaml"):
        if (folder / name).is_file():
            found.extend(read_extra_model_paths(folder / name))
    return _once(found)


def read_extra_model_paths(file: Path) -> list[FoundFolder]:
    """The folders that ComfyUI's `extra_model_paths.yaml` names and that exist; [] where it cannot be read."""
    import yaml  # type: ignore[import-untyped]

    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return []
    found: list[FoundFolder] = []
    for section in document.values() if isinstance(document, dict) else ():
        if isinstance(section, dict):
            found.extend(_section(section, file.parent))
    return _once(found)


def _section(section: dict[str, Any], beside: Path) -> Iterator[FoundFolder]:
    base = Path(str(section.get("base_path") or ".")).expanduser()
    base = base if base.is_absolute() else beside / base
    for key, value in section.items():
        kind = _NAMES.get(str(key).lower())
        if kind is None or kind == "unknown" or not isinstance(value, str):
            continue
        for line in value.splitlines():
            path = base / Path(line.strip()).expanduser() if line.strip() else None
            if path is not None and path.is_dir():
                yield FoundFolder(kind, path, "ComfyUI")


def _source(folder: Path) -> str:
    """The studio whose folder this is, by files that only it has."""
    marks = (
        ("InvokeAI", ("invokeai.yaml", "databases/invokeai.db")),
        ("Forge", ("modules_forge", "backend/huggingface")),
        ("SD.Next", ("installer.py", "modules/sd_offload.py", "sdnext.log")),
        ("SwarmUI", ("launchtools", "src/BuiltinExtensions")),
        ("ComfyUI", ("comfy", "custom_nodes", "extra_model_paths.yaml", "extra_models_config.yaml")),
        ("A1111", ("webui.py", "modules/shared.py")),
    )
    for title, names in marks:
        if any((folder / name).exists() for name in names):
            return title
    inside = {child.name.lower() for base in (folder, *_children(folder, "models")) for child in base.iterdir()}
    if "checkpoints" in inside:
        return "ComfyUI"
    return "A1111" if "stable-diffusion" in inside else "another studio"


def _children(folder: Path, name: str) -> list[Path]:
    return [child for child in folder.iterdir() if child.name.lower() == name and child.is_dir()]


def _once(found: list[FoundFolder]) -> list[FoundFolder]:
    seen: dict[Path, FoundFolder] = {}
    for each in found:
        seen.setdefault(each.path.resolve(), each)
    return list(seen.values())
