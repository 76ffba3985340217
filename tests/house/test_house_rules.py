"""Rules of the house that a reader would otherwise have to remember."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = ("engine", "webui", "benchmarks", "extensions")
# The worker's job guard, the extension guard, the page's guard, the process entry.
BROAD_EXCEPT = {
    "engine/jobs/worker.py",
    "engine/extension_folder.py",
    "webui/components/bridge.py",
    "webui/guarded_build.py",
    "engine/__main__.py",
    "engine/server/runtime.py",
}
# Rooms whose names are public for people who write scripts and notebooks.
PUBLIC_ROOMS = {"engine.memory"}
LONGEST_MODULE = 450
LONGEST_FUNCTION = 100


def files(*folders: str) -> list[Path]:
    found = [file for folder in folders or CODE for file in (ROOT / folder).rglob("*.py")]
    return sorted(file for file in found if "__pycache__" not in file.parts)


def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize(
    "package", ["engine", *sorted(f"engine.{p.parent.name}" for p in (ROOT / "engine").glob("*/__init__.py"))]
)
def test_a_rooms_init_is_one_docstring(package: str) -> None:
    text = (ROOT.joinpath(*package.split(".")) / "__init__.py").read_text(encoding="utf-8")
    body = ast.parse(text).body
    if package == "engine":
        assert len(body) <= 1, "engine/__init__.py stays empty"
        return
    if package in PUBLIC_ROOMS:
        # Names that people import from the room itself, found when asked for: importing it loads nothing.
        kinds = [type(node).__name__ for node in body]
        assert set(kinds) <= {"Expr", "ImportFrom", "Assign", "FunctionDef"}, kinds
        assert all(node.module in ("importlib", "typing") for node in body if isinstance(node, ast.ImportFrom))
        return
    assert len(body) == 1, f"{package}: import from the modules, not from the room"
    assert isinstance(body[0], ast.Expr)


def test_a_module_says_what_it_is_for() -> None:
    silent = [name_of(file) for file in files("engine", "webui", "benchmarks") if not ast.get_docstring(tree_of(file))]
    assert [name for name in silent if name != "engine/__init__.py"] == []


def test_everything_is_caught_in_a_few_named_places_only() -> None:
    problems: list[str] = []
    for file in (file for file in files() if name_of(file) not in BROAD_EXCEPT):
        for node in (node for node in ast.walk(tree_of(file)) if isinstance(node, ast.ExceptHandler)):
            parts = [] if node.type is None else [part.id for part in ast.walk(node.type) if isinstance(part, ast.Name)]
            broad = node.type is None or "Exception" in parts or "BaseException" in parts
            again = any(isinstance(part, ast.Raise) and part.exc is None for part in ast.walk(node))
            if broad and not again:
                problems.append(f"{name_of(file)}:{node.lineno} catches everything")
    assert problems == []


def test_modules_and_functions_stay_readable() -> None:
    problems: list[str] = []
    for file in files("engine", "webui"):
        if file.read_text(encoding="utf-8").count("\n") > LONGEST_MODULE:
            problems.append(f"{name_of(file)}: do two nouns live here?")
        for node in ast.walk(tree_of(file)):
            # A migration is one list of statements; cutting it up would not make it shorter.
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not re.match(r"m\d{4}_", node.name):
                length = (node.end_lineno or node.lineno) - node.lineno
                if length > LONGEST_FUNCTION:
                    problems.append(f"{name_of(file)}:{node.lineno} {node.name} has {length} lines")
    assert problems == []


WORKERS = re.compile(r"ArgumentParser|connect|Thread|Popen|open$|Client$|Database|Store$|Settings$")


def test_no_work_at_import() -> None:
    """Approximated: no call stands alone at module level, and no argument parser or connection is made there."""
    problems: list[str] = []
    for file in files("engine", "webui"):
        for node in tree_of(file).body:
            if isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant):
                problems.append(f"{name_of(file)}:{node.lineno} does something when imported")
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call):
                called = ast.unparse(node.value.func)
                if WORKERS.search(called):
                    problems.append(f"{name_of(file)}:{node.lineno} makes a {called} when imported")
    assert problems == []


def test_no_drawer_for_everything() -> None:
    drawers = {"utils.py", "util.py", "helpers.py", "common.py", "misc.py", "shared.py"}
    assert [name_of(file) for file in files() if file.name in drawers] == []


def test_the_engine_builds_no_monolithic_pipeline() -> None:
    """Denoising is Easel's own loop; a diffusers pipeline with a callback would bring back what it replaced."""
    problems = [
        f"{name_of(file)}:{node.lineno} imports {alias.name}"
        for file in files("engine")
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("diffusers")
        for alias in node.names
        if alias.name.endswith("Pipeline") or alias.name == "*"
    ]
    assert problems == []


def module_names() -> list[str]:
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files("engine", "webui", "benchmarks")]
    return [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]


def test_every_module_imports() -> None:
    for name in module_names():
        importlib.import_module(name)


@pytest.mark.parametrize("module", ["webui.app", "webui.studio", "webui.__main__", "engine.client.supervisor"])
def test_the_web_process_holds_no_torch(module: str) -> None:
    code = f"import {module}, sys; sys.exit(int(any(n.split('.')[0] in ('torch', 'diffusers') for n in sys.modules)))"
    environment = {**os.environ, "GRADIO_ANALYTICS_ENABLED": "False"}
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=False).returncode == 0


def test_the_ready_line_comes_before_anything_heavy() -> None:
    """Importing engine.__main__ must cost nothing: the port is bound and told first."""
    code = "import sys; base = set(sys.modules); import engine.__main__; print(*(set(sys.modules) - base))"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    heavy = {"torch", "pydantic", "uvicorn", "fastapi", "starlette", "numpy", "sqlite_utils"} & set(out.split())
    assert heavy == set()
