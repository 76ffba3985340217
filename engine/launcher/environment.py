"""The environment that Easel runs in: found or made, and filled with exactly what the requirements files pin."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine import platform
from engine.errors import SetupError
from engine.launcher.options import TorchChoice
from engine.launcher.pip import Pip
from engine.launcher.progress import ProgressLine
from engine.launcher.requirements import (
    TORCH_PACKAGES,
    Requirements,
    Stamp,
    read_stamp,
    real_python,
    write_stamp,
)
from engine.launcher.torch_build import TorchBuild, choose_build, find_gpu, index_for, installed_build

# Everything but PyTorch, measured on Linux and rounded up.
PACKAGES_MB = 300
PACKAGES_DISK_MB = 1500
TOOLS_MB = 80
TOOLS_DISK_MB = 350
_LOCK_NAME = "easel-lock"


@dataclass(frozen=True)
class Environment:
    """A virtual environment; `own` is Easel's .venv, otherwise the one that was active."""

    prefix: Path
    python: Path
    own: bool


def find_environment(root: Path, variables: Mapping[str, str] | None = None) -> Environment:
    """The active virtual environment if there is one, else `.venv` beside launch.py (it need not exist yet)."""
    env = os.environ if variables is None else variables
    if sys.prefix != sys.base_prefix:
        prefix = Path(sys.prefix)
        return Environment(prefix, Path(sys.executable), own=prefix.resolve() == (root / ".venv").resolve())
    active = env.get("VIRTUAL_ENV", "")
    if active and platform.venv_python(Path(active)).exists():
        prefix = Path(active)
        return Environment(prefix, platform.venv_python(prefix), own=prefix.resolve() == (root / ".venv").resolve())
    prefix = root / ".venv"
    return Environment(prefix, platform.venv_python(prefix), own=True)


def ensure(root: Path, choice: TorchChoice = "auto", *, tests: bool = False) -> Environment:
    """Make sure that everything is installed, and return the environment. Quick where nothing is to be done.

    Raises:
        SetupError: with the reason: disk, network, permission, an incomplete Python.
    """
    environment = find_environment(root)
    names = ("requirements.txt", "requirements-dev.txt") if tests else ("requirements.txt",)
    wanted = Requirements(tuple(root / name for name in names))
    if _is_current(environment, wanted, choice):
        return environment
    try:
        environment.prefix.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(environment):
            # Another launch may have done it while this one waited.
            if not _is_current(environment, wanted, choice):
                _install(environment, wanted, choice)
    except PermissionError as error:
        raise SetupError(
            "setup_no_permission",
            f"Easel may not write to {error.filename or environment.prefix}.",
            "Allow writing there, or move Easel's folder to a place of your own.",
        ) from error
    except OSError as error:
        if error.errno in (28, 122):
            raise _disk_full(environment.prefix, 0) from error
        raise SetupError("setup_failed", f"The environment cannot be made: {error}.", "Check the disk.") from error
    return environment


def _is_current(environment: Environment, wanted: Requirements, choice: TorchChoice) -> bool:
    stamp = read_stamp(environment.prefix)
    if stamp is None or not stamp.holds(wanted.hashes(), choice) or not environment.python.exists():
        return False
    # After an upgrade of the system's Python, .venv may point to another one, which finds none of its packages.
    return stamp.python == real_python(environment.python)


def _install(environment: Environment, wanted: Requirements, choice: TorchChoice) -> None:
    stamp = read_stamp(environment.prefix)
    present = installed_build(environment.prefix)
    # A build that is there and was not asked to change stays: a GPU is looked for once, or with --torch.
    wish = present if choice == "auto" and present else choice
    build = choose_build(wish, find_gpu())
    began = time.monotonic()
    _tell_plan(environment, build, new=present is None, tests=len(wanted.files) > 1)
    with ProgressLine() as line:
        _make(environment, line)
        pip = Pip(environment.python, line)
        _install_pins(pip, wanted.lines())
        if present is not None and present != build.kind:
            pip.uninstall(TORCH_PACKAGES)
        _install_torch(pip, line, wanted, build)
    hashes = {**(stamp.hashes if stamp else {}), **wanted.hashes()}
    built = installed_build(environment.prefix) or build.kind
    write_stamp(environment.prefix, Stamp(hashes, built, real_python(environment.python)))
    print(f"Everything is installed ({time.monotonic() - began:.0f} s, PyTorch for {built.upper()}).", flush=True)
    if built != build.kind:
        print(
            f"The package index gave PyTorch for {built.upper()} instead of {build.kind.upper()}. "
            f"To try again later: launch.py --torch {build.kind}",
            flush=True,
        )


def _tell_plan(environment: Environment, build: TorchBuild, *, new: bool, tests: bool) -> None:
    """Say the size before anything is fetched, and stop where the disk has no room for it."""
    where = ".venv" if environment.own else f"the active environment {environment.prefix}"
    if not new:
        print(f"Bringing the packages in {where} up to date.", flush=True)
        return
    download = PACKAGES_MB + TOOLS_MB * tests + build.download_mb
    disk = PACKAGES_DISK_MB + TOOLS_DISK_MB * tests + build.disk_mb
    print(
        f"Setting Easel up in {where}, once: about {_size(download)} to download, {_size(disk)} on the disk.\n"
        f"PyTorch for {build.kind.upper()}: {build.why}.",
        flush=True,
    )
    free = shutil.disk_usage(environment.prefix).free // 1_000_000
    if free < disk:
        raise _disk_full(environment.prefix, disk, int(free))


def _make(environment: Environment, line: ProgressLine) -> None:
    """Make the virtual environment, or make it again where its Python is gone or it was left half made."""
    if not environment.own or _has_pip(environment.python):
        return
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        raise SetupError(
            "python_incomplete",
            "This Python cannot make virtual environments: its venv module is missing.",
            f"Install it (Debian and Ubuntu: sudo apt install python{version}-venv) and start Easel again.",
        )
    line.say("Making .venv", own_line=True)
    for left in environment.prefix.iterdir():
        if left.name != _LOCK_NAME:
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
    done = subprocess.run(
        [sys.executable, "-m", "venv", str(environment.prefix)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip().splitlines()
        reason = said[-1] if said else "no reason given"
        if "No space left" in done.stdout + done.stderr:
            raise _disk_full(environment.prefix, 0)
        raise SetupError("setup_failed", f"The environment .venv cannot be made: {reason}.", "Run launch.py doctor.")


def _has_pip(python: Path) -> bool:
    if not python.exists():
        return False
    try:
        done = subprocess.run([str(python), "-c", "import pip"], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


def _install_pins(pip: Pip, lines: list[str]) -> None:
    """All pins at once and nothing else: they name whatever they bring, so pip need not look for it."""
    with tempfile.TemporaryDirectory(prefix="easel-") as folder:
        file = Path(folder) / "requirements.txt"
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        pip.install(["--no-deps", "-r", str(file)], expected=len(lines), what="Installing packages")


def _install_torch(pip: Pip, line: ProgressLine, wanted: Requirements, build: TorchBuild) -> None:
    """PyTorch from its own index where that answers, else from the plain index.

    With dependencies: the CUDA and ROCm builds bring libraries of their own. All others are installed already.
    """
    pins = wanted.torch()
    what = f"Installing PyTorch for {build.kind.upper()}"
    line.say(what, own_line=True)
    index = index_for(build, wanted.torch_version())
    if index is not None:
        try:
            pip.install(["--index-url", index, *pins], expected=0, what=what)
            return
        except SetupError as error:
            if error.code not in ("setup_no_network", "setup_package_missing", "setup_failed"):
                raise
    if build.tags and platform.system() == "linux" and build.kind == "cpu":
        line.say("PyTorch's own index does not answer; the usual one may send a larger build.", own_line=True)
    pip.install(pins, expected=0, what=what)


@contextmanager
def _one_at_a_time(environment: Environment) -> Iterator[None]:
    """Two launches at once must not fill one environment together: the second waits for the first."""
    with open(environment.prefix / _LOCK_NAME, "ab", buffering=0) as handle:
        told = False
        while not platform.try_lock(handle):
            if not told:
                print("Another start of Easel is installing; waiting for it.", flush=True)
                told = True
            time.sleep(0.2)
        try:
            yield
        finally:
            platform.unlock(handle)


def _size(megabytes: int) -> str:
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes} MB"


def _disk_full(folder: Path, needed_mb: int, free_mb: int = 0) -> SetupError:
    if needed_mb:
        message = f"The disk with {folder} has {_size(free_mb)} free, and the packages need {_size(needed_mb)}."
    else:
        message = f"The disk with {folder} became full."
    return SetupError("setup_disk_full", message, "Free some space, or move Easel's folder to another disk.")
