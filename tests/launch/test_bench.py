"""The benchmarks' harness: the table, the JSON, the exit status."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from benchmarks import __main__ as bench
from benchmarks.report import Report, Row

GOOD = Report("good", (Row("time", 1.5, "s", limit=2.0), Row("speed", 9, "pictures/s", limit=5, at_least=True)))
BAD = Report("bad", (Row("time", 2.5, "s", limit=2.0), Row("memory", 12345.678, "MB")))


def test_a_limit_holds_or_not() -> None:
    assert GOOD.holds
    assert not BAD.holds
    assert not Row("x", math.nan, "s", limit=1.0).holds
    assert not Row("x", 4, "s", limit=5, at_least=True).holds


def test_the_json_has_the_agreed_shape() -> None:
    assert json.loads(BAD.to_json()) == {
        "name": "bad",
        "rows": [
            {"metric": "time", "value": 2.5, "unit": "s", "limit": 2.0, "holds": False},
            {"metric": "memory", "value": 12345.678, "unit": "MB", "limit": None, "holds": True},
        ],
    }


def test_the_table_tells_what_does_not_hold() -> None:
    assert "DOES NOT HOLD" in BAD.table()
    assert "≥ 5 pictures/s" in GOOD.table()


def test_modules_with_run_are_found_without_importing_them(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("raise RuntimeError\ndef run(): ...\n")
    (tmp_path / "helper.py").write_text("def other(): ...\n")
    (tmp_path / "__main__.py").write_text("def run(): ...\n")
    assert bench.names(tmp_path) == ["one"]


@pytest.mark.parametrize(("report", "status"), [(GOOD, 0), (BAD, 1)])
def test_the_exit_status_and_the_file(
    report: Report, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = type("Module", (), {"run": staticmethod(lambda: report)})
    monkeypatch.setattr(bench, "names", lambda: [report.name])
    monkeypatch.setattr(bench.importlib, "import_module", lambda name: module)
    assert bench.main([report.name, "--json", str(tmp_path / "f.json")]) == status
    lines = capsys.readouterr().out.strip().splitlines()
    assert json.loads(lines[-1]) == json.loads((tmp_path / "f.json").read_text()) == json.loads(report.to_json())
