"""Turns between groups: fair, and not changing over more often than it pays."""

from __future__ import annotations

from collections import Counter

from engine.jobs.schedule import Group, class_weight
from engine.jobs.turns import LONGEST_HOLD_SECONDS, Turns


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def run(groups: list[Group], *, seconds: float, step: float, switch: float) -> tuple[Counter[str], int, float]:
    """(evaluations of each group, switches, the longest time without a turn), with a clock that the work moves."""
    clock = Clock()
    turns = Turns(clock)
    served: Counter[str] = Counter()
    last = {str(group.key): 0.0 for group in groups}
    present, switches, longest = "", 0, 0.0
    while clock.now < seconds:
        key = str(turns.choose(groups, switch).key)
        if key != present:
            switches, present = switches + 1, key
            clock.now += switch
        longest = max(longest, clock.now - last[key])
        clock.now += step
        last[key] = clock.now
        served[key] += 1
    return served, switches, longest


STACKS = [Group(name, class_weight("normal"), float(place)) for place, name in enumerate("abcd")]


def test_groups_without_a_cost_alternate() -> None:
    served, switches, _ = run(STACKS[:2], seconds=10, step=0.1, switch=0.0)
    assert abs(served["a"] - served["b"]) <= 1
    assert switches == sum(served.values())


def test_switching_takes_at_most_a_twentieth_where_the_hold_allows_it() -> None:
    served, switches, longest = run(STACKS, seconds=120, step=0.05, switch=0.08)
    assert switches * 0.08 <= 0.05 * 120
    assert max(served.values()) - min(served.values()) <= 2 * LONGEST_HOLD_SECONDS / 0.05
    assert longest <= 3 * (LONGEST_HOLD_SECONDS + 0.08) + 0.1


def test_nobody_waits_longer_than_the_longest_hold_however_dear_a_switch_is() -> None:
    _, _, longest = run(STACKS[:2], seconds=60, step=0.05, switch=1.0)
    assert longest <= LONGEST_HOLD_SECONDS + 1.0 + 0.1
    # On a slow machine three evaluations may take longer than that.
    _, _, longest = run(STACKS[:2], seconds=600, step=10.0, switch=1.0)
    assert longest <= 3 * 10.0 + 1.0 + 0.1


def test_classes_keep_their_shares_while_groups_are_held() -> None:
    groups = [Group("high", class_weight("high"), 0.0), Group("relaxed", class_weight("relaxed"), 1.0)]
    served, _, _ = run(groups, seconds=400, step=0.05, switch=0.05)
    share = served["relaxed"] / sum(served.values())
    assert 0.15 <= share <= 0.25
