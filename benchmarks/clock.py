"""How long something takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any


def seconds(act: Callable[[], Any]) -> float:
    """Seconds of one time."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def median_ms(act: Callable[[], Any], turns: int) -> float:
    """The median of so many times, in milliseconds with two decimals."""
    return round(statistics.median(seconds(act) for _ in range(turns)) * 1000, 2)
