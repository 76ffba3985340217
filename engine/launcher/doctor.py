"""`launch.py doctor`: what this machine has, what is installed, and what is wrong with it."""

from __future__ import annotations

import json
import os
import platform as python_platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine import platform
from engine.client.data_lock import current_holder
from engine.launcher.command_parser import CommandParser
from engine.launcher.environment import find_environment
from engine.launcher.ports import choose_port
from engine.launcher.quick_settings import read_quick_settings
from engine.launcher.requirements import Requirements, read_stamp
from engine.launcher.threads import quiet_environment
from engine.launcher.torch_build import choose_build, find_gpu, installed_build

_LOW_DISK_GB = 2.0


class Findings:
    """Lines of the report; problems are repeated at its end."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def fact(self, name: str, value: str) -> None:
        print(f"  {name:<14} {value}", flush=True)

    def problem(self, name: str, value: str, advice: str) -> None:
        self.fact(name, f"{value}  <-- look here")
        self.problems.append(f"{name}: {value} {advice}")


def doctor(root: Path, words: Sequence[str] = ()) -> int:
    """Print the report; status 1 where something is wrong. It takes no words.

    Raises:
        ConfigError: `config_bad_value` for words.
    """
    CommandParser("doctor", description=__doc__).parse_args(words)
    found = Findings()
    print("Easel's doctor looks at this machine and this installation.")
    _machine(found, root)
    _installation(found, root)
    _studio(found, root)
    if not found.problems:
        print("Everything is as it should be.")
        return 0
    print("\nTo put right:")
    for problem in found.problems:
        print(f"  - {problem}")
    return 1


def _machine(found: Findings, root: Path) -> None:
    found.fact("system", f"{python_platform.platform()} on {python_platform.machine()}")
    found.fact("python", f"{python_platform.python_version()} ({sys.executable})")
    found.fact("processor", f"{platform.physical_cores()} cores to compute on")
    free = shutil.disk_usage(root).free / 1e9
    if free < _LOW_DISK_GB:
        found.problem("disk", f"{free:.1f} GB free.", "Pictures and models need room: free some.")
    else:
        found.fact("disk", f"{free:.1f} GB free")
    gpu = find_gpu()
    named = {"none": "none found", "nvidia": f"{gpu.name}, driver for CUDA {gpu.cuda:g}"}.get(gpu.kind, gpu.name)
    found.fact("gpu", named)


def _installation(found: Findings, root: Path) -> None:
    environment = find_environment(root)
    stamp = read_stamp(environment.prefix)
    if stamp is None or not environment.python.exists():
        found.problem("environment", "nothing is installed yet.", "Run: python3 launch.py")
        return
    found.fact("environment", str(environment.prefix) + ("" if environment.own else " (active environment)"))
    if not stamp.holds(Requirements((root / "requirements.txt",)).hashes(), "auto"):
        found.problem("packages", "older than requirements.txt.", "The next start brings them up to date.")
    wanted, present = choose_build("auto", find_gpu()).kind, installed_build(environment.prefix)
    if present is not None and present != wanted:
        found.problem(
            "pytorch",
            f"built for {present.upper()}, this machine suits {wanted.upper()}.",
            f"Run: python3 launch.py --torch {wanted}",
        )
    report = _ask_packages(environment.python, root)
    if report is None:
        found.problem("packages", "cannot be asked.", f"Delete {environment.prefix} and start Easel again.")
        return
    found.fact("packages", ", ".join(f"{name} {version or 'MISSING'}" for name, version in report["packages"].items()))
    missing = [name for name, version in report["packages"].items() if not version]
    if missing:
        found.problem(
            "missing",
            f"{', '.join(missing)}.",
            f"Delete {environment.prefix / 'easel-installed.json'} and start Easel again.",
        )
    if report["torch_problem"]:
        advice = (
            "Install the Microsoft Visual C++ runtime." if platform.is_windows() else "Install it again: --torch auto."
        )
        found.problem("pytorch", report["torch_problem"], advice)
    else:
        found.fact("devices", ", ".join([*report["devices"], "CPU"]))
    if report["settings"]:
        found.problem("config.toml", report["settings"], "")


def _studio(found: Findings, root: Path) -> None:
    quick = read_quick_settings(root, None, None)
    holder = current_holder(quick.state_dir)
    if holder is not None:
        found.fact("studio", f"runs at {holder.url or 'no address'} (process {holder.pid})")
    else:
        port, said = choose_port(quick.host, quick.port)
        found.fact("port", said or f"{port} is free")
    starter = root / "models" / "starter" / "model_index.json"
    if starter.is_file():
        found.fact("starter", "is there")
    else:
        found.problem("starter", "the model that ships with Easel is missing.", "Fetch the repository again.")


def _ask_packages(python: Path, root: Path) -> dict[str, Any] | None:
    """The report of the installed packages; importing PyTorch takes some seconds."""
    try:
        done = subprocess.run(
            [str(python), "-m", "engine.cli.report"],
            cwd=root,
            env=quiet_environment(os.environ),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        report: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired):
        return None
    return report
