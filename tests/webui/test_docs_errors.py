"""docs/errors.md names every code, in its group with its status, and nothing else."""

from __future__ import annotations

import re

from engine.errors import LEAVES
from engine.settings import ROOT

PAGE = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")


def sections() -> dict[str, tuple[int, list[str]]]:
    found = {}
    for heading, status, body in re.findall(r"^## (\w+) \((\d+)\)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S):
        found[heading] = (int(status), re.findall(r"^\| `(\w+)` \|", body, re.M))
    return found


def test_the_page_is_complete() -> None:
    expected = {leaf.__name__: (leaf.status, sorted(leaf.codes)) for leaf in LEAVES}
    told = {name: (status, sorted(codes)) for name, (status, codes) in sections().items()}
    assert told == expected


def test_every_code_belongs_to_one_class() -> None:
    codes = [code for leaf in LEAVES for code in leaf.codes]
    assert len(codes) == len(set(codes))


def test_every_row_says_when_and_what_to_do() -> None:
    for row in re.findall(r"^\| `.*$", PAGE, re.M):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(cells) == 3, row
        assert all(cells), row
