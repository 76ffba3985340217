"""The front of time and memory: which levels are worth choosing, and that AUTO never takes another."""

from __future__ import annotations

import pytest

from engine.memory.front import dominated
from engine.memory.levels import OptimizationLevel
from engine.memory.plan import Planner
from tests.engine.memory.test_plan import PORTRAIT, SDXL, card

NONE, BALANCED, AGGRESSIVE, ULTRA = OptimizationLevel


@pytest.mark.parametrize(
    ("found", "beaten"),
    [
        ({"none": (1.0, 5.0), "balanced": (1.1, 4.0)}, {}),
        ({"none": (1.0, 5.0), "balanced": (1.1, 5.0)}, {"balanced": "none"}),
        ({"none": (1.0, 5.0), "balanced": (1.0, 4.0)}, {"none": "balanced"}),
        ({"none": (1.0, 5.0), "balanced": (1.0, 5.0)}, {}),
        ({"a": (1.0, 5.0), "b": (2.0, 2.0), "c": (2.5, 3.0), "d": (3.0, 5.0)}, {"c": "b", "d": "b"}),
        ({}, {}),
    ],
)
def test_who_is_beaten(found: dict[str, tuple[float, float]], beaten: dict[str, str]) -> None:
    assert dominated(found) == beaten


@pytest.mark.parametrize("gigabytes", range(2, 25))
@pytest.mark.parametrize("price", [0.8, 1.0, 1.28])
def test_auto_takes_no_beaten_level(gigabytes: int, price: float) -> None:
    """Also where a level that is thought to save costs no time here."""
    factors = {NONE: 1.0, BALANCED: 1.0, AGGRESSIVE: price, ULTRA: price}
    plan = Planner(card(gigabytes), dtype="bfloat16", time_factors=factors).plan(SDXL, PORTRAIT)
    costs = {each.level: (each.time_factor, float(each.peak)) for each in plan.alternatives}
    assert plan.chosen.level not in dominated(costs)
