"""Which build of PyTorch suits this machine, and where it comes from."""

from __future__ import annotations

import re
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine import platform
from engine.launcher.options import TorchChoice

WHEELS = "https://download.pytorch.org/whl"
# Newest first; which of them carries the pinned version is looked up when it is needed.
CUDA_TAGS = ("cu134", "cu132", "cu130", "cu129", "cu128", "cu126")
ROCM_TAGS = ("rocm10.1", "rocm7.2", "rocm7.1", "rocm7.0", "rocm6.4")
# From CUDA 13 on PyTorch computes on Turing (7.5) and newer only.
_OLDEST_FOR_CUDA_13 = 7.5
_PROBE_SECONDS = 6.0

BuildKind = Literal["cpu", "cuda", "rocm"]


@dataclass(frozen=True)
class Gpu:
    """What was found. `cuda` is the newest CUDA version that the driver runs, `capability` the oldest card's."""

    kind: Literal["none", "nvidia", "amd", "apple"]
    name: str = ""
    cuda: float = 0.0
    capability: float = 0.0


@dataclass(frozen=True)
class TorchBuild:
    """A build. `tags` name PyTorch's own indexes to try in turn; after them comes the plain index."""

    kind: BuildKind
    tags: tuple[str, ...]
    download_mb: int
    disk_mb: int
    why: str


def find_gpu(run: Callable[[list[str]], str] | None = None) -> Gpu:
    """Look for a GPU with the tools that its driver brings; `run` gives the output of a command, "" where it fails."""
    ask = run or _output
    if platform.system() == "macos":
        chip = ask(["sysctl", "-n", "machdep.cpu.brand_string"]).strip()
        return Gpu("apple", chip) if chip.startswith("Apple") else Gpu("none")
    cards = ask(["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]).strip()
    if cards:
        rows = [line.rsplit(",", 1) for line in cards.splitlines() if "," in line]
        capabilities = [_number(row[1]) for row in rows]
        version = re.search(r"CUDA Version:\s*([\d.]+)", ask(["nvidia-smi"]))
        return Gpu(
            "nvidia",
            name=rows[0][0].strip() if rows else cards.splitlines()[0],
            cuda=_number(version.group(1)) if version else 0.0,
            capability=min((number for number in capabilities if number), default=0.0),
        )
    if platform.system() == "linux":
        names = re.findall(r"Card [Ss]eries:\s*(.+)", ask(["rocm-smi", "--showproductname"]))
        if names or "gfx" in ask(["rocminfo"]):
            return Gpu("amd", names[0].strip() if names else "AMD GPU")
    return Gpu("none")


def choose_build(choice: TorchChoice, gpu: Gpu) -> TorchBuild:
    """The build for a wish and a machine. Sizes are those of PyTorch and what it brings, rounded up."""
    kind: BuildKind
    if choice == "auto":
        kind = "cuda" if gpu.kind == "nvidia" else "rocm" if gpu.kind == "amd" else "cpu"
        why = f"{gpu.name} found" if gpu.kind != "none" else "no GPU found"
    else:
        kind, why = choice, f"asked for with --torch {choice}"
    if platform.system() == "macos":
        # One build for all; it computes on Apple's GPU by itself.
        return TorchBuild("cpu", (), 100, 450, why)
    if kind == "cuda":
        return TorchBuild("cuda", _cuda_tags(gpu), 3000, 7500, why)
    if kind == "rocm":
        return TorchBuild("rocm", ROCM_TAGS, 4600, 18000, why)
    return TorchBuild("cpu", ("cpu",), 200, 800, why)


def index_for(build: TorchBuild, version: str, fetch: Callable[[str], str] | None = None) -> str | None:
    """The first of the build's indexes that answers and has this version of torch; None: use the plain index.

    Takes some seconds at most, whatever the network does: one address that hangs, refuses or cannot be found ends it.
    """
    get = fetch or _page
    for tag in build.tags:
        page = _within(_PROBE_SECONDS, lambda tag=tag: get(f"{WHEELS}/{tag}/torch/"))  # type: ignore[misc]
        if page is None:
            return None
        if f"torch-{version}%2B" in page or f"torch-{version}+" in page:
            return f"{WHEELS}/{tag}"
    return None


def _cuda_tags(gpu: Gpu) -> tuple[str, ...]:
    """Indexes that this driver and this card can use, newest first; all of them where the driver was not asked."""

    def usable(tag: str) -> bool:
        major = int(tag[2:-1])
        if gpu.capability and gpu.capability < _OLDEST_FOR_CUDA_13 and major >= 13:
            return False
        # A driver for CUDA 12.0 runs every 12.x.
        return not gpu.cuda or major <= int(gpu.cuda)

    return tuple(tag for tag in CUDA_TAGS if usable(tag)) or CUDA_TAGS[-1:]


def _within(seconds: float, call: Callable[[], str]) -> str | None:
    """`call()`, or None where it fails or takes longer: a name server that hangs knows no timeout of its own."""
    found: list[str] = []

    def work() -> None:
        try:
            found.append(call())
        except (OSError, ValueError):
            return

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else None


def _page(url: str) -> str:
    """The text of a page; "" where the host answers that there is no such page."""
    try:
        with urllib.request.urlopen(url, timeout=_PROBE_SECONDS) as answer:
            text: bytes = answer.read(4_000_000)
            return text.decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        if error.code in (403, 404):
            return ""
        raise


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _number(text: str) -> float:
    try:
        return float(text.strip())
    except ValueError:
        return 0.0


def installed_build(environment: Path) -> BuildKind | None:
    """The kind of torch in an environment, by the version file in its package; None where there is none."""
    places = ("lib/python*/site-packages", "Lib/site-packages")
    for file in (found for place in places for found in environment.glob(f"{place}/torch/version.py")):
        text = file.read_text(encoding="utf-8", errors="replace")
        if re.search(r"^hip.*=\s*'", text, re.MULTILINE):
            return "rocm"
        return "cuda" if re.search(r"^cuda.*=\s*'", text, re.MULTILINE) else "cpu"
    return None
