"""What the installed packages say about themselves and this machine, as JSON; `launch.py doctor` prints it in words."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

from engine.errors import StudioError
from engine.settings import load_settings

PACKAGES = ("gradio", "torch", "torchvision", "diffusers", "transformers", "peft", "compel", "numpy")


def main() -> int:
    """Print one JSON object. What fails is reported in it, so that a broken package does not end the report."""
    config = Path(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1] else None
    sys.stdout.write(json.dumps({"packages": _versions(), "settings": _settings(config), **_torch()}) + "\n")
    return 0


def _versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = ""
    return found


def _settings(config: Path | None) -> str:
    try:
        load_settings(config)
    except StudioError as error:
        return str(error)
    return ""


def _torch() -> dict[str, Any]:
    try:
        import torch
    except (ImportError, OSError) as error:
        # On Windows a missing C++ runtime shows as an OSError about a DLL.
        return {"torch_problem": str(error).splitlines()[0]}
    devices = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("Apple GPU (mps)")
    return {"torch_problem": "", "devices": devices, "threads": torch.get_num_threads()}


if __name__ == "__main__":
    sys.exit(main())
