"""The requirements files are complete: whatever a pinned package asks for, on any system, is pinned too."""

from __future__ import annotations

import ast
import importlib.metadata
import sys
from collections.abc import Iterable
from itertools import product
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
SYSTEMS = (("linux", "Linux", "posix"), ("darwin", "Darwin", "posix"), ("win32", "Windows", "nt"))
ENVIRONMENTS = [
    {
        "sys_platform": name,
        "platform_system": title,
        "os_name": kind,
        "platform_machine": machine,
        "python_version": version,
        "python_full_version": f"{version}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "extra": "",
    }
    for (name, title, kind), machine, version in product(SYSTEMS, ("x86_64", "arm64"), ("3.11", "3.12", "3.13"))
]
# pip comes with every environment; what PyTorch's CUDA and ROCm builds bring belongs to the build.
NOT_PINNED = {"pip"}
IMPORT_NAMES = {"PIL": "pillow", "cv2": "opencv-python-headless", "yaml": "pyyaml", "sklearn": "scikit-learn"}


def pins(*names: str) -> dict[str, Requirement]:
    found: dict[str, Requirement] = {}
    for name in names:
        for text in (ROOT / name).read_text().splitlines():
            line = text.partition("#")[0].strip()
            if line:
                requirement = Requirement(line)
                found[canonicalize_name(requirement.name)] = requirement
    return found


ALL = pins("requirements.txt", "requirements-dev.txt")


def version_of(requirement: Requirement) -> str:
    (specifier,) = requirement.specifier
    assert specifier.operator == "==", f"{requirement} is not pinned exactly"
    return specifier.version


def applies(requirement: Requirement, environment: dict[str, str]) -> bool:
    return requirement.marker is None or requirement.marker.evaluate(environment)


def test_a_pin_is_exact_public_and_what_is_installed() -> None:
    for name, requirement in ALL.items():
        version = version_of(requirement)
        assert "+" not in version, f"{name}: local versions exist on one index only"
        if requirement.marker is None or requirement.marker.evaluate():
            assert importlib.metadata.version(name).partition("+")[0] == version, name


def test_what_a_package_asks_for_is_pinned_for_every_system() -> None:
    problems = [problem for name in ALL if ALL[name].marker is None for problem in missing_for(name, ALL)]
    assert problems == []


def test_a_missing_pin_is_noticed() -> None:
    without = {name: pin for name, pin in ALL.items() if name not in ("colorama", "audioop-lts", "h11")}
    assert len(missing_for("tqdm", without)) == 1, "only on Windows"
    assert len(missing_for("gradio", without)) == 1, "only on Python 3.13"
    assert len(missing_for("uvicorn", without)) == 1


def missing_for(name: str, pinned: dict[str, Requirement]) -> list[str]:
    """What the installed package `name` asks for on some system, and `pinned` does not give there."""
    problems: list[str] = []
    for text in importlib.metadata.requires(name) or []:
        wanted = Requirement(text)
        needed_in = [environment for environment in ENVIRONMENTS if applies(wanted, environment)]
        key = canonicalize_name(wanted.name)
        if not needed_in or key in NOT_PINNED or (name == "torch" and key.startswith(("nvidia-", "cuda-", "triton"))):
            continue
        if key not in pinned:
            problems.append(f"{name} asks for {text}, which is not pinned")
        elif not wanted.specifier.contains(version_of(pinned[key]), prereleases=True):
            problems.append(f"{name} asks for {text}, pinned is {pinned[key]}")
        elif not all(applies(pinned[key], environment) for environment in needed_in):
            problems.append(f"{name} asks for {text} on more systems than it is pinned for")
    return problems


def third_party(folders: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for file in (file for folder in folders for file in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [node.module]
            found |= {name.split(".")[0] for name in names}
    own = {"engine", "webui", "benchmarks", "tests", "training", "extensions"}
    return {name for name in found if name not in sys.stdlib_module_names and name not in own}


def test_what_the_code_imports_is_asked_for_by_name() -> None:
    """A package that only another one brings may vanish with that one's next version."""
    text = (ROOT / "requirements.txt").read_text()
    direct = {canonicalize_name(Requirement(line).name) for line in text.split("# What those bring")[0].splitlines()
              if line.strip() and not line.startswith("#")}  # fmt: skip
    used = {canonicalize_name(IMPORT_NAMES.get(name, name)) for name in third_party(["engine", "webui", "benchmarks"])}
    assert used - direct == set()


def test_the_recipe_for_the_starter_agrees_on_versions() -> None:
    for name, requirement in pins("training/requirements.txt").items():
        assert name not in ALL or version_of(ALL[name]) == version_of(requirement)


def test_every_direct_requirement_is_explained() -> None:
    text = (ROOT / "requirements.txt").read_text().split("# What those bring")[0]
    page = (ROOT / "docs" / "dependencies.md").read_text().lower()
    names = [line.partition("==")[0] for line in text.splitlines() if "==" in line and not line.startswith("#")]
    assert [name for name in names if f"`{name}`" not in page] == []
