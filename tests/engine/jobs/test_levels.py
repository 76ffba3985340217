"""Memory levels on a running engine: planned for a job, really on its model, changed live, lowered and raised again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from engine.memory.optimizer import applied_to
from engine.protocol.specs import GenerationSpec
from tests.engine.jobs.conftest import Studio
from tests.support.likeness import psnr

SPEC = GenerationSpec(prompt="a red apple", steps=8, width=64, height=64, seed=7, sampler="euler")


@contextmanager
def at_step(number: int, act: Any) -> Iterator[list[Any]]:
    """`act(unet)` before the UNet's call of that number, on the worker's thread; a list of what it returned."""
    from torch.nn.modules.module import register_module_forward_pre_hook

    calls, told = [0], []

    def look(module: Any, given: Any) -> None:
        if type(module).__name__ == "UNet2DConditionModel":
            calls[0] += 1
            if calls[0] == number:
                told.append(act(module))

    handle = register_module_forward_pre_hook(look)
    try:
        yield told
    finally:
        handle.remove()


@pytest.fixture(autouse=True)
def fresh(studio: Studio) -> Iterator[None]:
    studio.level("none")
    yield
    studio.level("none")


def parts_loaded(studio: Studio) -> set[str]:
    return {entry.key.part for entry in studio.pool.entries() if entry.nbytes and hasattr(entry.key, "part")}


def test_auto_plans_and_the_level_is_on_the_model(studio: Studio) -> None:
    studio.level("auto")
    with at_step(2, lambda unet: applied_to({"unet": unet})) as told:
        studio.make(SPEC)
    assert told == [{"efficient_attention"}]
    assert studio.memory().effective_level == "none"


@pytest.mark.parametrize(
    ("level", "expected", "decibels"),
    [
        ("balanced", {"efficient_attention"}, 60),
        ("aggressive", {"efficient_attention", "forward_chunking", "file_storage"}, 40),
        ("ultra", {"efficient_attention", "forward_chunking", "fp8_storage"}, 15),
    ],
)
def test_a_level_chosen_by_hand_holds_from_the_next_step_of_a_running_job(
    studio: Studio, level: str, expected: set[str], decibels: float
) -> None:
    plain = studio.picture(studio.make(SPEC))
    changed = at_step(3, lambda _: studio.desk.set_level(level))
    with changed, at_step(4, lambda unet: applied_to({"unet": unet})) as told:
        job = studio.make(SPEC)
    assert told == [expected]
    assert job.evaluations == 8, "no step was repeated"
    assert psnr(plain, studio.picture(job)) >= decibels
    assert studio.memory().effective_level == level


def test_going_back_from_rounded_weights_loads_them_again(studio: Studio) -> None:
    plain = studio.picture(studio.make(SPEC))
    studio.level("ultra")
    rounded = studio.picture(studio.make(SPEC))
    studio.level("none")
    again = studio.picture(studio.make(SPEC))
    assert psnr(plain, rounded) < 60
    assert psnr(plain, again) == float("inf")


def test_staged_loading_holds_one_stage_at_a_time(studio: Studio) -> None:
    studio.level("balanced")
    fresh_prompt = SPEC.model_copy(update={"prompt": "a boat that nobody asked for yet"})
    with at_step(2, lambda _: parts_loaded(studio)) as told:
        studio.make(fresh_prompt)
    assert told == [{"unet"}]
    studio.idle()
    assert parts_loaded(studio) <= {"vae"}


def test_what_a_level_does_not_keep_leaves_after_the_job(studio: Studio) -> None:
    studio.level("ultra")
    studio.make(SPEC)
    studio.idle()
    studio.wait(lambda: not parts_loaded(studio))


def test_several_pictures_go_through_the_stages_together(studio: Studio) -> None:
    studio.level("balanced")
    held: list[set[str]] = []
    job = SPEC.model_copy(update={"count": 3, "batch_size": 3, "prompt": "three boats", "steps": 4})
    with (
        at_step(1, lambda _: held.append(parts_loaded(studio))),
        at_step(4, lambda _: held.append(parts_loaded(studio))),
    ):
        other = studio.submit(job.model_copy(update={"prompt": "another", "steps": 6}))
        made = studio.make(job)
        studio.ended(other)
    assert made.status == "done"
    assert all(parts == {"unet"} for parts in held)
