"""The numbers of a run, kept beside its checkpoints, for the model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from training.files import write_atomically


def write_report(folder: Path, part: str, numbers: dict[str, Any]) -> None:
    """Keep `numbers` under the name of the step and print them."""
    report = read_report(folder)
    report[part] = numbers
    text = json.dumps(report, indent=2, sort_keys=True) + "\n"
    write_atomically(folder / "report.json", lambda target: target.write_text(text, encoding="utf-8"))
    print(part, json.dumps(numbers), flush=True)


def read_report(folder: Path) -> dict[str, Any]:
    """Everything written so far; empty where nothing was."""
    path = folder / "report.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
