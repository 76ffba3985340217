"""What was measured here, and what may be compared with what."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.memory.experience import Experience, LevelResult
from engine.memory.levels import OptimizationLevel
from engine.memory.views import measured_levels
from engine.store.store import Store, open_store

NONE, BALANCED, ULTRA = OptimizationLevel.NONE, OptimizationLevel.BALANCED, OptimizationLevel.ULTRA
MODEL = "painter"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path)


def experience(store: Store) -> Experience:
    return Experience(store.measurements, lambda: "a CPU", lambda: False)


def took(level: OptimizationLevel, seconds: float, peak: int, side: int) -> LevelResult:
    return LevelResult(level, seconds, seconds / 20, peak, 0.5, side, side)


def test_each_measure_says_its_own_size(store: Store) -> None:
    known = experience(store)
    known.add_levels(MODEL, {NONE: took(NONE, 10.0, 900, 512), BALANCED: took(BALANCED, 11.0, 700, 512)})
    # None ran out of memory at the larger size.
    known.add_levels(MODEL, {BALANCED: took(BALANCED, 44.0, 2000, 1024), ULTRA: took(ULTRA, 60.0, 1500, 1024)})
    views = {view.level: view for view in measured_levels(known.levels(MODEL))}
    assert {level: view.width for level, view in views.items()} == {"none": 512, "balanced": 1024, "ultra": 1024}
    assert (views["none"].saved, views["none"].price) == (0, 1.0)
    assert (views["balanced"].saved, views["balanced"].price) == (None, None)
    # 44 seconds of a large picture are no reason against 10 of a small one.
    assert not any(view.beaten_by for view in views.values())


def test_a_measure_without_a_size_is_shown_without_one(store: Store) -> None:
    known = experience(store)
    old = {"seconds": 12.0, "step_seconds": 0.6, "peak": 800, "cold_seconds": 1.0}
    store.measurements.add("level_measured", f"none|a CPU|{MODEL}", 12.0, old)
    known.add_levels(MODEL, {BALANCED: took(BALANCED, 44.0, 2000, 1024)})
    views = {view.level: view for view in measured_levels(known.levels(MODEL))}
    assert (views["none"].width, views["none"].height) == (0, 0)
    assert (views["balanced"].width, views["balanced"].price) == (1024, None)


def test_times_of_two_sizes_make_no_factor(store: Store) -> None:
    known = experience(store)
    known.add_levels(MODEL, {NONE: took(NONE, 10.0, 900, 512), ULTRA: took(ULTRA, 15.0, 600, 512)})
    factors, measured = known.time_factors(MODEL)
    assert factors[ULTRA] == pytest.approx(1.5)
    assert measured == {NONE, ULTRA}
    known.add_levels(MODEL, {ULTRA: took(ULTRA, 60.0, 1500, 1024)})
    assert known.time_factors(MODEL)[0][ULTRA] == pytest.approx(1.5)


def test_another_model_goes_by_the_ratios_that_were_measured(store: Store) -> None:
    known = experience(store)
    known.add_levels(MODEL, {NONE: took(NONE, 10.0, 900, 512), ULTRA: took(ULTRA, 15.0, 600, 512)})
    factors, measured = known.time_factors("another")
    assert factors[ULTRA] == pytest.approx(1.5)
    assert measured == {NONE, ULTRA}
