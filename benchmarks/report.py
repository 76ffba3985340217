"""What a benchmark answers: rows with a value, a unit, and where there is one, a limit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One measured number.

    Attributes:
        limit: the most (with `at_least`, the least) that the value may be; None only informs.
    """

    metric: str
    value: float
    unit: str
    limit: float | None = None
    at_least: bool = False

    @property
    def holds(self) -> bool:
        """Whether the limit is kept; a value that is not a number keeps none."""
        if self.limit is None:
            return True
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def to_json(self) -> dict[str, Any]:
        return {
            "metric": self.metric,
            "value": self.value,
            "unit": self.unit,
            "limit": self.limit,
            "holds": self.holds,
        }


@dataclass(frozen=True)
class Report:
    """The rows of one benchmark."""

    name: str
    rows: tuple[Row, ...]

    @property
    def holds(self) -> bool:
        return all(row.holds for row in self.rows)

    def to_json(self) -> str:
        """One line: `{"name", "rows": [{"metric", "value", "unit", "limit", "holds"}]}`."""
        return json.dumps({"name": self.name, "rows": [row.to_json() for row in self.rows]}, ensure_ascii=False)

    def table(self) -> str:
        """The rows for reading."""
        cells = [("", "value", "limit", "")] + [_cells(row) for row in self.rows]
        widths = [max(len(line[column]) for line in cells) for column in range(4)]
        lines = [
            f"{line[0]:<{widths[0]}}  {line[1]:>{widths[1]}}  {line[2]:>{widths[2]}}  {line[3]}".rstrip()
            for line in cells
        ]
        return "\n".join([f"== {self.name}", *lines])


def _cells(row: Row) -> tuple[str, str, str, str]:
    value = f"{row.value:.4g} {row.unit}".strip()
    if row.limit is None:
        return row.metric, value, "", ""
    sign = "≥" if row.at_least else "≤"
    return row.metric, value, f"{sign} {row.limit:g} {row.unit}".strip(), "holds" if row.holds else "DOES NOT HOLD"
