"""requirements.txt and its kin: what is pinned, and whether an environment already holds it."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

STAMP_NAME = "easel-installed.json"
TORCH_PACKAGES = ("torch", "torchvision")
_STAMP_VERSION = 1


@dataclass(frozen=True)
class Requirements:
    """The files of one purpose: `requirements.txt`, for tests also `requirements-dev.txt`."""

    files: tuple[Path, ...]

    def lines(self) -> list[str]:
        """Pins without comments, PyTorch's own left out."""
        return [line for line in self._all() if _package(line) not in TORCH_PACKAGES]

    def torch(self) -> list[str]:
        """The pins of PyTorch, such as `torch==2.13.0`."""
        return [line for line in self._all() if _package(line) in TORCH_PACKAGES]

    def torch_version(self) -> str:
        return next(line.split("==")[1] for line in self.torch() if _package(line) == "torch")

    def hashes(self) -> dict[str, str]:
        """SHA-256 of each file by its name."""
        return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in self.files}

    def _all(self) -> list[str]:
        lines = (line.partition("#")[0].strip() for file in self.files for line in file.read_text("utf-8").splitlines())
        return [line for line in lines if line]


@dataclass(frozen=True)
class Stamp:
    """What was last installed into an environment: the files' hashes, the build of PyTorch, the real Python."""

    hashes: dict[str, str]
    torch: str
    python: str

    def holds(self, hashes: dict[str, str], torch: str) -> bool:
        """Whether nothing is to be installed. `torch` "auto" takes whatever build is there."""
        same = all(self.hashes.get(name) == value for name, value in hashes.items())
        return same and torch in ("auto", self.torch)


def read_stamp(environment: Path) -> Stamp | None:
    """The stamp of an environment; None where there is none, or one that cannot be read."""
    try:
        raw = json.loads((environment / STAMP_NAME).read_text(encoding="utf-8"))
        if raw["version"] != _STAMP_VERSION:
            return None
        return Stamp(hashes=dict(raw["hashes"]), torch=str(raw["torch"]), python=str(raw["python"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_stamp(environment: Path, stamp: Stamp) -> None:
    """Remember what was installed; written beside and moved, so that an interrupted write leaves no half stamp."""
    part = environment / f"{STAMP_NAME}.part"
    body = {"version": _STAMP_VERSION, "hashes": stamp.hashes, "torch": stamp.torch, "python": stamp.python}
    part.write_text(json.dumps(body, indent=1), encoding="utf-8")
    part.replace(environment / STAMP_NAME)


def real_python(python: Path) -> str:
    """The interpreter behind an environment's links."""
    return os.path.realpath(python)


def _package(line: str) -> str:
    return line.partition("==")[0].strip().lower()
