"""A machine without a GPU, where too much cannot be caught: what goes at once is lowered, and what cannot be is
refused, before the work begins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from engine.errors import OutOfMemoryError
from engine.jobs import worker
from engine.protocol.commands import CheckSpec, GetJob, ListJobs
from engine.protocol.jobs import JobView
from engine.protocol.specs import GenerationSpec
from tests.engine.jobs.conftest import Studio
from tests.support.fake_machine import GIB, FakeProbe

# Large enough that the pictures weigh more than the tiny model.
SPEC = GenerationSpec(prompt="a red apple", steps=2, width=256, height=256, seed=7, sampler="euler", guidance=7.0)
FOUR = SPEC.model_copy(update={"count": 4, "batch_size": 4})


class Shared(FakeProbe):
    """What the pool lets go of is free again."""

    def __init__(self, studio: Studio, free: int) -> None:
        super().__init__(memory=64)
        self._studio, self._bytes = studio, free

    def ram(self) -> tuple[int, int]:
        return self._bytes - self._studio.pool.used_bytes, 64 * GIB


@contextmanager
def a_machine_with(studio: Studio, free: int) -> Iterator[None]:
    """`free` bytes for the pictures, with what is loaded."""
    studio.client._runtime.plans.forget()
    kept, studio.desk._probe = studio.desk._probe, Shared(studio, free)
    try:
        yield
    finally:
        studio.desk._probe = kept
        studio.client._runtime.plans.forget()


@contextmanager
def rows_of_calls() -> Iterator[list[int]]:
    """How many rows each UNet call had."""
    from torch.nn.modules.module import register_module_forward_pre_hook

    rows: list[int] = []

    def look(module: Any, given: Any) -> None:
        if type(module).__name__ == "UNet2DConditionModel":
            rows.append(given[0].shape[0])

    handle = register_module_forward_pre_hook(look)
    try:
        yield rows
    finally:
        handle.remove()


def least(studio: Studio, pictures: int) -> int:
    """What so many at once take at the level that needs least, as they fit with the margin of a quarter."""
    spec = SPEC.model_copy(update={"count": pictures, "batch_size": pictures})
    return min(level.peak for level in studio.desk.forecast(spec).levels)


@pytest.fixture(autouse=True)
def fresh(studio: Studio) -> Iterator[None]:
    studio.level("auto")
    studio.idle()
    # What a busy machine measured of one test would correct the forecasts of the next.
    studio.desk.record_peak = lambda *measured: None
    yield
    studio.level("auto")


def codes(job: JobView) -> list[str]:
    return [notice.code for notice in job.notices]


def test_no_more_go_at_once_than_the_forecast_has_room_for(studio: Studio) -> None:
    with a_machine_with(studio, (least(studio, 2) + least(studio, 3)) // 2 * 4 // 3), rows_of_calls() as rows:
        assert studio.desk.forecast(FOUR).largest_batch == 2
        job = studio.make(FOUR)
    assert job.status == "done", job.error
    assert len(job.images) == 4
    assert max(rows) == 4, "two pictures with guidance"
    assert [notice.message for notice in job.notices if notice.code == "batch_reduced"] == [
        "There is memory for 2 at once, so 2 are made at once instead of 4."
    ]


def test_pictures_of_several_jobs_have_to_fit_together(studio: Studio) -> None:
    with a_machine_with(studio, (least(studio, 1) + least(studio, 2)) // 2 * 4 // 3), rows_of_calls() as rows:
        jobs = [studio.submit(SPEC.model_copy(update={"seed": seed})) for seed in range(3)]
        ended = [studio.ended(job) for job in jobs]
    assert [job.status for job in ended] == ["done"] * 3
    assert max(rows) == 2, "one picture with guidance"


def test_large_pictures_of_several_jobs_are_made_one_after_another(studio: Studio) -> None:
    large = SPEC.model_copy(update={"width": 320, "height": 320, "steps": 8})
    with a_machine_with(studio, 64 * GIB), rows_of_calls() as rows:
        jobs = [studio.submit(large.model_copy(update={"seed": seed})) for seed in range(3)]
        ended = [studio.ended(job) for job in jobs]
    assert [job.status for job in ended] == ["done"] * 3
    assert max(rows) == 2, "one picture with guidance"
    finished = [job.finished_at for job in ended]
    assert finished == sorted(finished), "who came first has theirs first"


def test_who_waits_for_a_machine_of_its_own_gets_its_turn(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "SWITCH_PATIENCE", 0.0)
    small = SPEC.model_copy(update={"width": 64, "height": 64, "steps": 60})
    with a_machine_with(studio, 64 * GIB):
        first = studio.submit(small)
        studio.wait(lambda: studio.call(GetJob(job_id=first.id)).status == "running")
        large = studio.submit(SPEC.model_copy(update={"width": 320, "height": 320}))
        last = studio.submit(small)
        begun = [studio.ended(job).started_at for job in (first, large, last)]
    assert begun == sorted(begun), "those that could join do not pass it for ever"


def test_what_fits_is_made_at_once_and_nothing_is_told(studio: Studio) -> None:
    with a_machine_with(studio, 64 * GIB), rows_of_calls() as rows:
        job = studio.make(FOUR)
    assert max(rows) == 8
    assert not {"batch_reduced", "memory_level_lowered"} & set(codes(job))


def test_a_level_that_does_not_fit_gives_way_to_a_harder_one(studio: Studio) -> None:
    levels = {level.level: level.peak for level in studio.desk.forecast(SPEC).levels}
    easiest, hardest = levels["none"], min(levels.values())
    assert hardest < easiest
    studio.level("none")
    # Decoding in tiles makes even the easiest level fit where only the decode is large.
    with a_machine_with(studio, int(hardest * 1.001 * 4 / 3)):
        job = studio.make(SPEC)
    assert job.status == "done", job.error
    assert "memory_level_lowered" in codes(job)


def test_what_cannot_fit_is_refused_at_the_edge(studio: Studio) -> None:
    huge = SPEC.model_copy(update={"width": 4096, "height": 4096})
    before = studio.call(ListJobs()).jobs
    room = studio.desk.bytes_held()["ram"] + GIB // 4
    assert min(level.peak for level in studio.desk.forecast(huge).levels) > room
    with a_machine_with(studio, GIB // 4):
        for command in (CheckSpec(spec=huge), None):
            with pytest.raises(OutOfMemoryError) as caught:
                studio.call(command) if command is not None else studio.submit(huge)
            assert caught.value.code == "out_of_memory"
            assert "4096 × 4096 px takes" in caught.value.message
            assert caught.value.hint.startswith("Take at most ")
        assert studio.call(CheckSpec(spec=SPEC)).spec.width == 256, "what fits is not refused"
    assert studio.call(ListJobs()).jobs == before


def test_memory_that_went_away_meanwhile_ends_the_job_before_it_begins(studio: Studio) -> None:
    huge = SPEC.model_copy(update={"width": 4096, "height": 4096})
    room = studio.worker._levels.room
    with a_machine_with(studio, GIB // 4), rows_of_calls() as rows:
        # As if there had been room when it was submitted.
        studio.client._runtime.admission._room = lambda spec: None
        try:
            job = studio.ended(studio.submit(huge))
        finally:
            studio.client._runtime.admission._room = room.check
    assert job.status == "failed"
    assert job.error is not None
    assert job.error.code == "out_of_memory"
    assert rows == []
