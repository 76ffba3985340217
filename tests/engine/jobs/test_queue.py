"""The life of a job, on a real store, without a worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import ConflictError, GenerationError, NotFoundError
from engine.jobs.board import Board
from engine.jobs.queue import JobQueue
from engine.metrics.registry import Metrics
from engine.protocol.events import Event
from engine.protocol.notices import Notice
from engine.protocol.specs import GenerationSpec
from engine.store.store import Store, open_store


class Admitted:
    """What the queue needs of an admission."""

    def __init__(self, count: int = 1) -> None:
        self.spec = GenerationSpec(
            prompt="a cat", negative_prompt="", model="m", steps=4, guidance=5.0, sampler="euler",
            schedule="automatic", width=64, height=64, seed=1, count=count, clip_skip=1,
        )  # fmt: skip
        self.notices: tuple[Notice, ...] = ()


class Bench:
    """A queue on a store, with what it told."""

    def __init__(self, folder: Path) -> None:
        self.store: Store = open_store(folder)
        self.told: list[Event] = []
        self.board = Board()
        self.queue = JobQueue(self.store, self.board, Metrics(), self.told.append)

    def submit(self, count: int = 1, owner: str = "ann", request_id: str | None = None) -> str:
        view = self.queue.submit(Admitted(count), owner=owner, priority="normal", request_id=request_id)  # type: ignore[arg-type]
        return view.id


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.store.close()


def test_a_submitted_job_is_in_the_store_before_it_is_answered(bench: Bench, tmp_path: Path) -> None:
    job = bench.submit(count=3)
    other = Bench(tmp_path)
    assert [task.status for task in other.store.jobs.get(job).tasks] == ["queued"] * 3
    other.store.close()


def test_a_repeated_request_is_the_same_job(bench: Bench) -> None:
    assert bench.submit(request_id="r") == bench.submit(request_id="r")
    assert len(bench.queue.waiting()) == 1


def test_two_owners_take_turns(bench: Bench) -> None:
    first = [bench.submit(owner="ann") for _ in range(3)]
    bob = bench.submit(owner="bob")
    positions = bench.queue.positions()
    assert positions[first[0]] == 0
    assert positions[bob] == 1


def test_pictures_of_a_started_job_come_before_new_jobs(bench: Bench) -> None:
    running = bench.submit(count=2)
    bench.submit(owner="bob")
    assert bench.queue.claim(bench.queue.waiting()[0])
    first = bench.queue.waiting()[0]
    assert (first.job.id, first.task.index) == (running, 1)


def test_what_waits_is_canceled_at_once_and_cannot_start(bench: Bench) -> None:
    job = bench.submit(count=2)
    claims = bench.queue.waiting()
    assert bench.queue.cancel(job, "ann", None).status == "canceled"
    assert not bench.queue.claim(claims[0])
    assert bench.queue.waiting() == []
    with pytest.raises(ConflictError):
        bench.queue.cancel(job, "ann", None)


def test_what_runs_is_canceled_when_the_worker_lets_go(bench: Bench) -> None:
    job = bench.submit(count=2)
    assert bench.queue.claim(bench.queue.waiting()[0])
    assert bench.queue.cancel(job, "ann", None).status == "running"
    assert bench.queue.is_canceled(job, 0)
    bench.queue.dropped(job, 0)
    assert bench.store.jobs.get(job).status == "canceled"


def test_a_skipped_picture_leaves_the_others(bench: Bench) -> None:
    job = bench.submit(count=2)
    for claim in bench.queue.waiting():
        assert bench.queue.claim(claim)
    bench.queue.cancel(job, "ann", 0)
    assert bench.queue.is_canceled(job, 0)
    assert not bench.queue.is_canceled(job, 1)
    bench.queue.dropped(job, 0)
    bench.queue.saved(job, 1)
    assert bench.store.jobs.get(job).status == "done"


def test_nobody_cancels_anothers_job(bench: Bench) -> None:
    job = bench.submit(owner="ann")
    with pytest.raises(NotFoundError):
        bench.queue.cancel(job, "bob", None)
    assert bench.store.jobs.get(job).status == "queued"


def test_a_failed_job_keeps_its_error_and_lets_the_next_go_on(bench: Bench) -> None:
    job, after = bench.submit(count=2), bench.submit()
    assert bench.queue.claim(bench.queue.waiting()[0])
    bench.queue.fail(job, GenerationError("generation_failed", "It broke.", "Try again."))
    record = bench.store.jobs.get(job)
    assert record.status == "failed"
    assert record.error is not None
    assert record.error.code == "generation_failed"
    assert [claim.job.id for claim in bench.queue.waiting()] == [after]


def test_a_delayed_retry_waits_and_is_announced(bench: Bench) -> None:
    job = bench.submit()
    assert bench.queue.claim(bench.queue.waiting()[0])
    bench.queue.retry(job, 60.0)
    assert bench.queue.waiting() == []
    assert 50 < (bench.queue.next_retry() or 0) <= 60
    bench.queue.retry(job, 0.0)
    assert [claim.job.id for claim in bench.queue.waiting()] == [job]


def test_the_same_notice_is_told_once(bench: Bench) -> None:
    job = bench.submit()
    notice = Notice(code="retried", message="Trying again.")
    bench.queue.notice(job, notice)
    bench.queue.notice(job, notice)
    assert sum(event.kind == "notice" for event in bench.told) == 1
    assert bench.store.jobs.get(job).notices == (notice,)


def test_unfinished_jobs_are_taken_up_after_a_restart(bench: Bench, tmp_path: Path) -> None:
    job = bench.submit(count=2)
    bench.store.close()
    again = Bench(tmp_path)
    again.queue.load()
    assert [claim.job.id for claim in again.queue.waiting()] == [job, job]
    bench.store = again.store
