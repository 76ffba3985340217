"""Predictions as tables: what was asked for in the last hour, the hour of day, and what waits."""

from __future__ import annotations

import time

from engine.memory.preload import HOUR, Use, choose_preloads, hour_weights, predict

NOW = time.mktime((2026, 5, 4, 20, 30, 0, 0, 0, -1))


def uses(model: str, count: int, ago: float = 60.0) -> list[Use]:
    return [Use(model, NOW - ago - index) for index in range(count)]


def test_the_most_used_of_the_last_hour_comes_first() -> None:
    found = predict([*uses("a", 2), *uses("b", 5), *uses("old", 50, ago=2 * HOUR)], now=NOW)
    assert found == [("b", 5.0), ("a", 2.0)]


def test_the_hour_weighs_and_waiting_counts_most() -> None:
    recent = [*uses("a", 4), *uses("b", 3)]
    assert predict(recent, now=NOW, weights={"b": 2.0})[0] == ("b", 6.0)
    assert predict(recent, now=NOW, waiting={"c": 1})[0] == ("c", 10.0)


def test_equal_scores_are_in_order_of_names() -> None:
    assert [model for model, _ in predict([*uses("b", 1), *uses("a", 1)], now=NOW)] == ["a", "b"]


def test_a_model_of_the_evening_weighs_more_in_the_evening() -> None:
    evening = [Use("portrait", NOW - day * 24 * HOUR) for day in range(20)]
    morning = [Use("logo", NOW - 10 * HOUR - day * 24 * HOUR) for day in range(20)]
    weights = hour_weights([*evening, *morning], 20)
    assert weights["portrait"] > 1.5
    assert weights["logo"] < 0.7
    assert hour_weights([Use("once", NOW)], 8) == {"once": 1.0}


def test_only_what_fits_is_loaded_and_only_when_it_is_quiet() -> None:
    predicted = [(name, 1.0) for name in "abcdefg"]
    sizes = dict.fromkeys("abcdefg", 4)
    assert choose_preloads(predicted, loaded=["a"], sizes=sizes, free_bytes=9, quiet=True) == ["b", "c"]
    assert choose_preloads(predicted, loaded=[], sizes=sizes, free_bytes=99, quiet=False) == []
    assert choose_preloads(predicted, loaded=[], sizes=sizes, free_bytes=99, quiet=True) == list("abcde")
