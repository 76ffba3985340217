"""Whether pictures with other adapters go into one call: a policy that learns from times."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from engine.adapters.plan import NO_CHANGES, PatchPlan
from engine.jobs.company import ENOUGH, Company
from engine.pipeline.context import ExecutionKey


@dataclass(frozen=True)
class _Picture:
    """What the policy looks at of a picture in progress: a value, since the real one needs a model."""

    adapters: str
    side: int = 8
    alone: bool = False
    plan: PatchPlan = NO_CHANGES
    pinned: int = 0
    controls: str = ""
    context: Any = field(init=False, default=None)

    def __post_init__(self) -> None:
        object.__setattr__(self, "context", self)

    finished = False

    @property
    def unet_plan(self) -> PatchPlan:
        return self.plan

    @property
    def key(self) -> ExecutionKey:
        return ExecutionKey(
            "model", self.side, self.side, "float32", self.adapters, pinned=self.pinned, controls=self.controls
        )

    @property
    def group_key(self) -> object:
        return (self.key, id(self)) if self.alone else self.key


def play(company: Company, pictures: list[Any], shared: float, apart: float, turns: int = 20) -> list[int]:
    """The number of groups at each turn, when one evaluation of a picture takes that long in each way."""
    seen: list[int] = []
    for _ in range(turns):
        groups = company.groups(pictures)
        seen.append(len(groups))
        group = next(iter(groups.values()))
        mixed = len({picture.group_key for picture in group}) > 1
        company.told(company.trial(group, pictures), (shared if mixed else apart) * len(group))
    return seen


@pytest.mark.parametrize(("side", "first"), [(8, 1), (64, 3)])
@pytest.mark.parametrize(("shared", "apart", "last"), [(1.0, 1.4, 1), (1.4, 1.0, 3), (1.0, 1.0, 3)])
def test_both_ways_are_tried_and_the_faster_one_stays(
    side: int, first: int, shared: float, apart: float, last: int
) -> None:
    pictures = [_Picture(name, side) for name in "abc"]
    seen = play(Company(), pictures, shared, apart)
    assert seen[:ENOUGH] == [first] * ENOUGH
    assert {1, 3} <= set(seen[: 2 * ENOUGH])
    assert set(seen[2 * ENOUGH :]) == {last}


def test_pictures_of_one_stack_share_a_group_without_any_trial() -> None:
    company = Company()
    pictures: list[Any] = [_Picture("a"), _Picture("a")]
    groups = company.groups(pictures)
    assert [len(group) for group in groups.values()] == [2]
    assert company.trial(next(iter(groups.values())), pictures) is None


@pytest.mark.parametrize(
    "other", [_Picture("b", alone=True), _Picture("b", pinned=77), _Picture("b", controls="x"), _Picture("b", side=16)]
)
def test_who_may_not_share_stays_apart(other: Any) -> None:
    assert len(Company().groups([_Picture("a"), other])) == 2


def test_enormous_pictures_are_never_tried_together() -> None:
    assert set(play(Company(), [_Picture("a", 256), _Picture("b", 256)], 0.1, 1.0)) == {2}


def test_sizes_are_judged_apart() -> None:
    company = Company()
    play(company, [_Picture("a"), _Picture("b")], 1.0, 2.0)
    play(company, [_Picture("a", 16), _Picture("b", 16)], 2.0, 1.0)
    assert len(company.groups([_Picture("a"), _Picture("b")])) == 1
    assert len(company.groups([_Picture("a", 16), _Picture("b", 16)])) == 2
