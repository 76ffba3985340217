"""StageTimer: spans in order, repeats joined, totals that add up."""

from __future__ import annotations

import pytest

from engine.metrics.timeline import StageSpan, StageTimer


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def visit(timer: StageTimer, clock: Clock, name: str, seconds: float) -> None:
    with timer.stage(name):
        clock.now += seconds


def test_spans_that_follow_each_other_are_joined() -> None:
    clock, heard = Clock(), []
    timer = StageTimer(clock, on_stage=lambda name, seconds: heard.append((name, seconds)))
    visit(timer, clock, "loading", 2.0)
    visit(timer, clock, "denoising", 1.0)
    clock.now += 5.0
    visit(timer, clock, "denoising", 1.0)
    visit(timer, clock, "saving", 0.5)
    visit(timer, clock, "denoising", 1.0)
    assert timer.spans == (
        StageSpan("loading", 0.0, 2.0, 2.0, 1),
        StageSpan("denoising", 2.0, 9.0, 2.0, 2),
        StageSpan("saving", 9.0, 9.5, 0.5, 1),
        StageSpan("denoising", 9.5, 10.5, 1.0, 1),
    )
    assert timer.totals() == {"loading": 2.0, "denoising": 3.0, "saving": 0.5}
    assert timer.elapsed() == 10.5
    assert heard == [("loading", 2.0), ("denoising", 1.0), ("denoising", 1.0), ("saving", 0.5), ("denoising", 1.0)]


def test_a_failing_stage_counts_and_an_inner_one_comes_first() -> None:
    clock = Clock()
    timer = StageTimer(clock)

    def fail_after_an_inner_stage() -> None:
        with timer.stage("outer"):
            visit(timer, clock, "inner", 1.0)
            clock.now += 1.0
            raise KeyError

    with pytest.raises(KeyError):
        fail_after_an_inner_stage()
    assert [(span.stage, span.busy) for span in timer.spans] == [("inner", 1.0), ("outer", 2.0)]


def test_a_thousand_steps_are_one_span() -> None:
    clock = Clock()
    timer = StageTimer(clock)
    for _ in range(1000):
        visit(timer, clock, "denoising", 0.5)
    assert len(timer.spans) == 1
    assert timer.totals() == {"denoising": 500.0}
