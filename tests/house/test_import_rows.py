"""Who may import whom: every import statement of the house, read from the source, nothing executed."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
# A longer name wins over a shorter one, so engine.conditioning.grammar is not engine.conditioning.
ROWS: dict[str, int] = {
    "engine.errors": 0,
    "engine.protocol": 0,
    "engine.config_file": 0,
    "engine.settings": 0,
    "engine.platform": 0,
    "engine.extension_folder": 0,
    "engine.launcher": 0,
    "engine.client": 1,
    "engine.conditioning.grammar": 1,
    "engine.conditioning.adapter_tags": 1,
    "engine.memory.eviction": 1,
    "engine.store": 2,
    "engine.library": 2,
    "engine.families": 2,
    "engine.images": 2,
    "engine.metrics": 2,
    "engine.loading": 3,
    "engine.adapters": 3,
    "engine.sampling": 3,
    "engine.control": 3,
    "engine.conditioning": 3,
    "engine.memory": 3,
    "engine.upscale": 3,
    "engine.merge": 4,
    "engine.pipeline": 4,
    "engine.jobs": 5,
    "engine.host": 6,
    "engine.extension_kinds": 6,
    "engine.extension_methods": 6,
    "engine.server": 6,
    "engine.__main__": 6,
    "engine.cli": 7,
}
# launch.py looks at the lock of the data folder before anything is installed.
ALLOWED_UPWARD = {("engine.launcher", "engine.client.data_lock")}
WEBUI_MAY = (
    "webui", "engine.protocol", "engine.errors", "engine.settings", "engine.client", "engine.platform",
    "engine.extension_folder",
)  # fmt: skip
TORCH = (
    "torch",
    "torchvision",
    "diffusers",
    "transformers",
    "peft",
    "compel",
    "accelerate",
    "controlnet_aux",
    "torchsde",
)
NO_TORCH_ROWS = 2


def modules(*folders: str) -> list[Path]:
    return sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))


def name_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """(line, full module name) of every import, `from x import y` as x.y too where y is a module."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    package = name_of(file).split(".") if file.name == "__init__.py" else name_of(file).split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            origin = ".".join(part for part in (base, node.module or "") if part)
            for alias in node.names:
                deeper = ROOT.joinpath(*origin.split("."), alias.name)
                is_module = deeper.is_dir() or deeper.with_suffix(".py").is_file()
                yield node.lineno, f"{origin}.{alias.name}" if is_module else origin


def room(module: str) -> str | None:
    """The longest known name that the module belongs to."""
    fitting = [name for name in ROWS if module == name or module.startswith(name + ".")]
    return max(fitting, key=len) if fitting else None


def test_a_module_of_the_engine_imports_only_rows_below_or_its_own_room() -> None:
    problems: list[str] = []
    for file in (file for file in modules("engine") if name_of(file) != "engine"):
        own = room(name_of(file))
        if own is None:
            problems.append(f"{file} belongs to no row; say which here and in the design")
            continue
        for line, target in imports(file):
            if not target.startswith("engine"):
                if target.startswith(("webui", "tests")):
                    problems.append(f"{file}:{line} imports {target}")
            elif not may_import(own, target):
                problems.append(f"{file}:{line}: {own} (row {ROWS[own]}) imports {target}")
    assert problems == []


def may_import(own: str, target: str) -> bool:
    """Whether a module of the room `own` may import the module `target` of the engine."""
    other = room(target)
    if other is None or other == own or own.startswith(other + ".") or other.startswith(own + "."):
        return True
    if any(own == upper and target.startswith(lower) for upper, lower in ALLOWED_UPWARD):
        return True
    return ROWS[other] < ROWS[own] or (ROWS[own] in (0, 2, 6) and ROWS[other] == ROWS[own])


def test_the_rows_can_be_broken() -> None:
    assert may_import("engine.pipeline", "engine.sampling.table")
    assert not may_import("engine.sampling", "engine.pipeline.decode")
    assert not may_import("engine.loading", "engine.sampling.table"), "rooms of row 3 do not know each other"
    assert not may_import("engine.client", "engine.store.jobs")


def test_the_page_sees_the_engine_through_its_window_only() -> None:
    problems = [
        f"{file}:{line} imports {target}"
        for file in modules("webui")
        for line, target in imports(file)
        if target.split(".")[0] in TORCH
        or (target.startswith("engine") and not any(f"{target}.".startswith(f"{name}.") for name in WEBUI_MAY))
    ]
    assert problems == []


def test_the_low_rows_never_import_torch() -> None:
    low = [
        file for file in modules("engine") if ROWS.get(room(name_of(file)) or "", NO_TORCH_ROWS + 1) <= NO_TORCH_ROWS
    ]
    assert len(low) > 20
    found = [
        f"{file}:{line} imports {target}"
        for file in low
        for line, target in imports(file)
        if target.split(".")[0] in TORCH
    ]
    assert found == []


def test_what_runs_before_anything_is_installed_needs_the_standard_library_alone() -> None:
    own = ("engine.platform", "engine.errors", "engine.config_file", "engine.client.data_lock")
    single = ("launch.py", *(f"{name.replace('.', '/')}.py" for name in own))
    problems = [
        f"{file}:{line} imports {target}"
        for file in [*(ROOT / name for name in single), *modules("engine/launcher")]
        for line, target in imports(file)
        if target.split(".")[0] not in sys.stdlib_module_names
        and target not in (*own, "engine", "engine.launcher")
        and not target.startswith("engine.launcher.")
    ]
    assert problems == []


SYSTEM_MODULES = ("fcntl", "msvcrt", "resource", "pwd")
SYSTEM_NAMES = ("sys.platform", "os.name", "os.killpg", "os.setsid", "os.fork", "os.nice", "signal.SIGKILL")


def test_what_differs_between_systems_is_asked_in_one_module() -> None:
    problems: list[str] = []
    for file in modules("engine", "webui", "benchmarks"):
        if name_of(file) == "engine.platform":
            continue
        problems += [f"{file}:{line} imports {target}" for line, target in imports(file) if target in SYSTEM_MODULES]
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in SYSTEM_NAMES:
                problems.append(f"{file}:{node.lineno} uses {ast.unparse(node)}; ask engine.platform")
    assert problems == []


def test_every_room_has_a_row_and_every_row_a_room_or_a_plan() -> None:
    found = {
        name_of(folder / "__init__.py") for folder in (ROOT / "engine").iterdir() if (folder / "__init__.py").is_file()
    }
    assert found <= set(ROWS)
