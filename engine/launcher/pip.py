"""Runs pip, shows how far it is, and turns its failures into one sentence."""

from __future__ import annotations

import os
import re
import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.errors import SetupError
from engine.launcher.progress import ProgressLine

_COLLECTING = re.compile(r"^Collecting (\S+?)[=<>~! ]")
_DOWNLOADING = re.compile(r"^\s*Downloading (\S+?)-\d\S* \(([\d.]+) ([kM]B|GB)\)")
_KEPT_LINES = 200


class Pip:
    """pip of one environment.

    Args:
        python: the environment's interpreter.
        line: where progress is shown.
    """

    def __init__(self, python: Path, line: ProgressLine) -> None:
        self._python = python
        self._line = line

    def install(self, arguments: Sequence[str], *, expected: int, what: str) -> None:
        """`pip install` with these arguments; `expected` packages are counted.

        Raises:
            SetupError: with the reason, out of pip's own words.
        """
        self.run(["install", "--disable-pip-version-check", "--no-input", *arguments], expected=expected, what=what)

    def uninstall(self, packages: Sequence[str]) -> None:
        """Remove packages; those that are not there are no error."""
        self.run(["uninstall", "--disable-pip-version-check", "-y", *packages], expected=0, what="Making room")

    def run(self, arguments: Sequence[str], *, expected: int, what: str) -> None:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PIP_ROOT_USER_ACTION": "ignore", "PYTHONUTF8": "1"}
        # A PYTHONPATH of the user's could show pip packages that the environment does not have.
        environment.pop("PYTHONPATH", None)
        process = subprocess.Popen(
            [str(self._python), "-m", "pip", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        lines: deque[str] = deque(maxlen=_KEPT_LINES)
        tell = _teller(self._line, expected, what)
        assert process.stdout is not None
        try:
            for text in process.stdout:
                lines.append(text.rstrip())
                tell(text)
            status = process.wait()
        except BaseException:
            # Ctrl+C: pip got it too; do not leave it half alive.
            process.terminate()
            process.wait()
            raise
        if status != 0:
            raise explain("\n".join(lines))


def _teller(line: ProgressLine, expected: int, what: str) -> Callable[[str], None]:
    """Turns pip's lines into progress: a count, the name, and the size of what is large."""
    seen: set[str] = set()

    def tell(text: str) -> None:
        count = f"{what}: {min(len(seen), expected)} of {expected}" if expected else what
        if found := _COLLECTING.match(text):
            seen.add(found.group(1).lower())
            line.say(f"{what}: {min(len(seen), expected)} of {expected}, {found.group(1)}")
        elif found := _DOWNLOADING.match(text):
            large = found.group(3) == "GB" or (found.group(3) == "MB" and float(found.group(2)) >= 10)
            line.say(f"{count}, {found.group(1)} ({found.group(2)} {found.group(3)})", own_line=large)
        elif text.startswith(("Installing collected packages", "Building wheels")):
            line.say(f"{what}: unpacking", own_line=True)

    line.say(what)
    return tell


# What pip says → code, what it means, what to do. The first that occurs in its output counts.
_REASONS: tuple[tuple[str, str, str, str], ...] = (
    (
        r"No space left on device|Errno 28|WinError 112|Disk quota exceeded",
        "setup_disk_full",
        "The disk became full while packages were being installed.",
        "Free some gigabytes and start Easel again; it goes on where it stopped.",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLError|SSLCertVerificationError",
        "setup_no_network",
        "The package index was reached, but its certificate could not be verified.",
        "If a proxy or virus scanner stands between, give pip its certificate (pip config set global.cert FILE).",
    ),
    (
        r"Temporary failure in name resolution|Name or service not known|getaddrinfo failed|nodename nor servname"
        r"|NewConnectionError|ConnectTimeoutError|Connection refused|Network is unreachable|ReadTimeoutError"
        r"|Max retries exceeded|ProxyError|Connection reset|RemoteDisconnected|IncompleteRead",
        "setup_no_network",
        "The package index cannot be reached.",
        "Check the network (and the proxy) and start Easel again; it goes on where it stopped.",
    ),
    (
        r"Permission denied|Errno 13|Errno 30|Read-only file system|Access is denied|WinError 5",
        "setup_no_permission",
        "Packages cannot be written into the environment.",
        "Allow writing there, or move Easel's folder to a place of your own.",
    ),
    (
        r"externally-managed-environment",
        "setup_no_permission",
        "This Python belongs to the system and may not be added to.",
        "Start Easel with python3 outside of it; it makes its own environment.",
    ),
)


def explain(output: str) -> SetupError:
    """The failure of pip as one sentence and an advice."""
    for pattern, code, message, hint in _REASONS:
        if re.search(pattern, output, re.IGNORECASE):
            return SetupError(code, message, hint)
    missing = re.search(r"No matching distribution found for (\S+)", output)
    if missing:
        return SetupError(
            "setup_package_missing",
            f"There is no {missing.group(1).rstrip(')')} for this Python and this system.",
            "Use Python 3.11, 3.12 or 3.13 (64 bit), and check that the package index is complete.",
        )
    said = [line.strip() for line in output.splitlines() if re.match(r"\s*(ERROR|error)\b", line)]
    last = said[0] if said else (output.strip().splitlines() or ["it gave no reason"])[-1]
    return SetupError("setup_failed", f"pip failed: {last.removeprefix('ERROR:').strip()}", "Run launch.py doctor.")
