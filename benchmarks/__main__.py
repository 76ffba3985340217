"""`launch.py bench [NAME] [--json F]`: every module here with `def run() -> Report` is a benchmark.

Prints a table and then one JSON object for each; the exit status is 1 when a limit does not hold.
"""

from __future__ import annotations

import ast
import importlib
import json
import sys
from pathlib import Path

from benchmarks.report import Report
from engine.errors import ConfigError
from engine.launcher.command_parser import CommandParser

FOLDER = Path(__file__).resolve().parent


def names(folder: Path = FOLDER) -> list[str]:
    """The benchmarks: modules that define `run`; none of them is imported for this."""
    return sorted(file.stem for file in folder.glob("*.py") if not file.stem.startswith("_") and _defines_run(file))


def main(arguments: list[str] | None = None) -> int:
    """The process entry."""
    parser = CommandParser("bench", description="Measure, and compare with the limits.")
    parser.add_argument("name", nargs="?", choices=names(), metavar="NAME", help=f"one of: {', '.join(names())}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the JSON object to this file as well")
    try:
        found = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    except ConfigError as error:
        sys.stderr.write(f"Easel: {error} [{error.code}]\n")
        return 1
    reports = [_run(name) for name in ([found.name] if found.name else names())]
    if found.json:
        found.json.write_text(_as_json(reports), encoding="utf-8")
    return 0 if all(report.holds for report in reports) else 1


def _run(name: str) -> Report:
    print(f"Measuring: {name}. Leave the machine alone meanwhile.", file=sys.stderr, flush=True)
    report: Report = importlib.import_module(f"benchmarks.{name}").run()
    print(report.table())
    print(report.to_json(), flush=True)
    return report


def _as_json(reports: list[Report]) -> str:
    """One benchmark is its object; several are a list of them."""
    if len(reports) == 1:
        return reports[0].to_json() + "\n"
    return json.dumps([json.loads(report.to_json()) for report in reports], ensure_ascii=False) + "\n"


def _defines_run(file: Path) -> bool:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return any(isinstance(node, ast.FunctionDef) and node.name == "run" for node in tree.body)


if __name__ == "__main__":
    sys.exit(main())
