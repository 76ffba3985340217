"""Who is served next, as tables."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.jobs.schedule import PROMOTION_SECONDS, Group, Waiting, choose_group, class_weight, fair_order


def job(name: str, owner: str = "ann", priority: str = "normal", at: float = 0.0) -> Waiting:
    return Waiting(name, owner, priority, at)


def ids(order: list[Waiting]) -> list[str]:
    return [item.job_id for item in order]


def test_one_owner_is_served_in_order_of_arrival() -> None:
    assert ids(fair_order([job("b", at=2), job("a", at=1), job("c", at=3)], {}, now=4)) == ["a", "b", "c"]


def test_a_batch_of_one_person_does_not_block_another() -> None:
    queue = [job(f"a{i}", "ann", at=i) for i in range(5)] + [job("b0", "bob", at=9)]
    assert ids(fair_order(queue, {}, now=10))[:2] == ["a0", "b0"]


def test_who_was_served_lately_comes_after_who_was_not() -> None:
    assert ids(fair_order([job("a", "ann", at=1), job("b", "bob", at=2)], {"ann": 3.0}, now=3)) == ["b", "a"]


def test_high_comes_before_normal_before_relaxed_within_an_owner() -> None:
    queue = [job("r", priority="relaxed", at=1), job("n", at=2), job("h", priority="high", at=3)]
    assert ids(fair_order(queue, {}, now=4)) == ["h", "n", "r"]


def test_five_minutes_of_waiting_go_to_the_front() -> None:
    queue = [job("new", priority="high", at=1000.0), job("old", priority="relaxed", at=1000.0 - PROMOTION_SECONDS)]
    assert ids(fair_order(queue, {}, now=1000.0)) == ["old", "new"]


def test_relaxed_work_keeps_a_fifth_of_the_turns() -> None:
    served: Counter[str] = Counter()
    virtual: dict[object, float] = {}
    groups = [Group("high", class_weight("high"), 0.0), Group("relaxed", class_weight("relaxed"), 1.0)]
    for _ in range(1000):
        chosen = choose_group(groups, virtual)
        virtual[chosen.key] = virtual.get(chosen.key, 0.0) + 1.0 / chosen.weight
        served[str(chosen.key)] += 1
    assert served["relaxed"] >= 195
    assert served["high"] > 3 * served["relaxed"]


def test_choosing_among_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="empty"):
        choose_group([], {})


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["high", "normal", "relaxed"]), st.floats(0, 1000)),
        max_size=30,
    )
)
def test_every_job_is_in_the_order_exactly_once(raw: list[tuple[str, str, float]]) -> None:
    queue = [Waiting(str(i), owner, priority, at) for i, (owner, priority, at) in enumerate(raw)]
    assert sorted(ids(fair_order(queue, {}, now=1000))) == sorted(ids(queue))
