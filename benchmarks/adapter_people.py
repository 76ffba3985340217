"""Several people with stacks of their own: as the worker serves them, in one call, and in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.adapter_files import write_peft_lora
from benchmarks.clock import seconds
from benchmarks.models import begin_picture, draw_to_the_end, stack_of, starter
from benchmarks.report import Row

PEOPLE = 4
STEPS = 20
ROUNDS = 5


def four_people(folder: Path) -> list[Row]:
    """Pictures a second of four people with four stacks, over four people with one stack one after another."""
    bundle = starter()
    files = {
        str(seed): write_peft_lora(folder / f"person{seed}.safetensors", bundle.unet, rank=8, seed=seed)
        for seed in range(PEOPLE)
    }
    stacks = [stack_of(bundle, {name: file}) for name, file in files.items()]
    served = _Served()
    shared: list[float] = []
    batched: list[float] = []
    for _ in range(ROUNDS):
        in_turn = seconds(partial(_one_after_another, bundle, stacks[0]))
        shared.append(in_turn / seconds(partial(served.together, bundle, stacks)))
        batched.append(in_turn / seconds(partial(_in_turns, bundle, [stacks[0]] * PEOPLE)))
    rows = [
        Row("four people, four stacks ÷ one stack one after another", statistics.median(shared), "×", 0.95, True),
        Row("four people, one stack, batched ÷ one after another", statistics.median(batched), "×"),
        Row("changing to another stack, starter", bundle.switch_seconds * 1000, "ms"),
    ]
    return rows + [_one_call(bundle, stacks, side) for side in (8, 16)]


def _one_call(bundle: Any, stacks: list[Any], side: int) -> Row:
    """How many times as fast one call with a thin term for each row is as turns with moved weights."""
    ratios: list[float] = []
    for _ in range(ROUNDS):
        turns = seconds(partial(_in_turns, bundle, stacks, side))
        ratios.append(turns / seconds(partial(_all_at_once, bundle, stacks, side)))
    return Row(f"four stacks in one call, latents {side} × {side}: speed ÷ in turns", statistics.median(ratios), "×")


def _one_after_another(bundle: Any, stack: Any) -> None:
    for _ in range(PEOPLE):
        draw_to_the_end(bundle, begin_picture(bundle, stack, STEPS))


def _all_at_once(bundle: Any, stacks: list[Any], side: int) -> None:
    from engine.pipeline.denoise import tick

    contexts = [begin_picture(bundle, stack, STEPS, side) for stack in stacks]
    while not contexts[0].finished:
        tick(bundle, contexts)


def _in_turns(bundle: Any, stacks: list[Any], side: int = 0) -> None:
    """One call for each group of equal weights, in the worker's turns."""
    from engine.jobs.schedule import Group
    from engine.jobs.turns import Turns
    from engine.pipeline.denoise import tick

    contexts = [begin_picture(bundle, stack, STEPS, side) for stack in stacks]
    turns = Turns()
    while left := [context for context in contexts if not context.finished]:
        groups: dict[object, list[Any]] = {}
        for context in left:
            groups.setdefault(context.key, []).append(context)
        chosen = turns.choose([Group(key, 5.0, 0.0) for key in groups], bundle.switch_seconds)
        tick(bundle, groups[chosen.key])


@dataclass
class _Picture:
    """What the worker's policy looks at of a picture in progress."""

    context: Any
    alone: bool = False

    @property
    def group_key(self) -> object:
        return self.context.key


class _Served:
    """As the worker does it: turns, and one call for several stacks where that was measured to be faster."""

    def __init__(self) -> None:
        from engine.jobs.company import Company

        self._company = Company()

    def together(self, bundle: Any, stacks: Sequence[Any]) -> None:
        from engine.jobs.schedule import Group
        from engine.jobs.turns import Turns
        from engine.pipeline.denoise import tick

        pictures: list[Any] = [_Picture(begin_picture(bundle, stack, STEPS)) for stack in stacks]
        turns = Turns()
        while left := [picture for picture in pictures if not picture.context.finished]:
            groups = self._company.groups(left)
            chosen = turns.choose([Group(key, 5.0, 0.0) for key in groups], bundle.switch_seconds)
            group = groups[chosen.key]
            trial = self._company.trial(group, left)
            began = time.perf_counter()
            tick(bundle, [picture.context for picture in group])
            self._company.told(trial, time.perf_counter() - began)
