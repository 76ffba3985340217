"""Jobs: durable, idempotent, private, and safe under threads."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import ConflictError, NotFoundError
from engine.protocol.jobs import ErrorView
from engine.protocol.notices import Notice
from engine.protocol.specs import AdapterRef, GenerationSpec
from engine.store.jobs import JobStore
from engine.store.store import Store, open_store
from tests.engine.store.making import image_of, new_job

NOTICE = Notice(code="value_clamped", message="Weight 12 became 10.", level="warning")


def test_a_job_comes_back_whole(store: Store) -> None:
    spec = GenerationSpec(
        prompt="猫 “quoted”\nline", adapters=(AdapterRef(name="ink", unet_weight=0.5),), ext={"hello": {"a": [1, None]}}
    )
    job = new_job(count=3, spec=spec, notices=(NOTICE,), priority="high", request_id="r1")
    assert store.jobs.submit(job) == job
    assert store.jobs.get(job.id) == job


def test_submit_is_on_the_disk_before_it_returns(store: Store) -> None:
    job = store.jobs.submit(new_job(count=2))
    # Another connection sees only what is committed; FULL says that a commit is synced.
    other = sqlite3.connect(store.path)
    assert other.execute("SELECT count(*) FROM tasks WHERE job_id = ?", (job.id,)).fetchone() == (2,)
    assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()
    assert store.jobs._db.value("PRAGMA synchronous") == 2


def test_a_repeated_request_id_answers_the_first_job(store: Store) -> None:
    first = store.jobs.submit(new_job(request_id="again"))
    assert store.jobs.submit(new_job(request_id="again")) == first
    assert store.jobs.submit(new_job("bob", request_id="again")).id != first.id
    assert store.jobs.submit(new_job()).id != store.jobs.submit(new_job()).id, "no request id: always a new job"
    assert store.jobs.submit(first) == first, "the same record again"


def test_another_owners_job_is_unknown(store: Store) -> None:
    job = store.jobs.submit(new_job("ann"))
    for call in (lambda: store.jobs.get(job.id, "bob"), lambda: store.jobs.get("nothing")):
        with pytest.raises(NotFoundError) as caught:
            call()
        assert caught.value.code == "job_unknown"
    assert store.jobs.list("bob") == []


@pytest.mark.parametrize(
    "call",
    [
        lambda jobs: jobs.mark_running("x"),
        lambda jobs: jobs.add_notice("x", NOTICE),
        lambda jobs: jobs.set_task("x", 0, status="done"),
        lambda jobs: jobs.add_evaluations("x", 0, 1),
        lambda jobs: jobs.count_attempt("x"),
        lambda jobs: jobs.finish("x", "done"),
    ],
)
def test_changing_an_unknown_job_says_so(store: Store, call: object) -> None:
    with pytest.raises(NotFoundError, match="no such job"):
        call(store.jobs)  # type: ignore[operator]


def test_the_life_of_a_job(store: Store) -> None:
    job = store.jobs.submit(new_job(count=2))
    store.jobs.mark_running(job.id)
    started = store.jobs.get(job.id).started_at
    assert started is not None
    store.jobs.mark_running(job.id)
    assert store.jobs.get(job.id).started_at == started, "a resumed job keeps its first start"
    store.jobs.set_task(job.id, 0, status="running")
    store.jobs.set_task(job.id, 0, file_name="a.png")
    store.jobs.add_evaluations(job.id, 0, 5)
    store.jobs.add_evaluations(job.id, 1, 2)
    store.jobs.add_notice(job.id, NOTICE)
    store.jobs.add_notice(job.id, NOTICE)
    assert [store.jobs.count_attempt(job.id), store.jobs.count_attempt(job.id)] == [1, 2]

    seen = store.jobs.get(job.id)
    assert (seen.status, seen.evaluations, seen.attempts, seen.notices) == ("running", 7, 2, (NOTICE,))
    assert seen.tasks[0] == replace(job.tasks[0], status="running", file_name="a.png", evaluations=5)

    store.history.record(image_of(job, 0), media_type="image/png", owner="ann")
    error = ErrorView(code="disk_full", message="Full.", hint="Free space.")
    store.jobs.finish(job.id, "failed", error)
    store.jobs.finish(job.id, "failed", error)
    ended = store.jobs.get(job.id)
    assert (ended.status, ended.error, [task.status for task in ended.tasks]) == ("failed", error, ["done", "failed"])
    assert ended.finished_at is not None
    for call in (lambda: store.jobs.finish(job.id, "done"), lambda: store.jobs.mark_running(job.id)):
        with pytest.raises(ConflictError) as caught:
            call()
        assert caught.value.code == "job_already_finished"


def test_lists(store: Store) -> None:
    jobs = [store.jobs.submit(new_job(priority=priority)) for priority in ("relaxed", "normal", "high", "normal")]
    store.jobs.submit(new_job("bob"))
    store.jobs.mark_running(jobs[3].id)
    done = store.jobs.submit(new_job())
    store.jobs.finish(done.id, "done")

    def ids(found: list) -> list[str]:
        return [job.id for job in found]

    newest_first = [job.id for job in reversed([*jobs, done])]
    assert ids(store.jobs.list("ann")) == newest_first
    assert ids(store.jobs.list("ann", limit=2)) == newest_first[:2]
    assert ids(store.jobs.list("ann", active=True)) == [jobs[place].id for place in (3, 2, 1, 0)]
    assert ids(store.jobs.list("ann", status="done")) == [done.id]
    assert len(store.jobs.list(None)) == 6
    assert [job.owner for job in store.jobs.unfinished()] == ["ann"] * 4 + ["bob"], "in the order of submission"
    assert store.jobs.counts() == {"queued": 4, "running": 1, "done": 1, "failed": 0, "canceled": 0}


def test_a_job_is_stored_with_all_its_tasks_or_not_at_all(store: Store) -> None:
    first = store.jobs.submit(new_job())
    clash = new_job(count=2)
    clash = replace(clash, tasks=(clash.tasks[0], replace(clash.tasks[1], image_id=first.tasks[0].image_id)))
    with pytest.raises(Exception, match="UNIQUE"):
        store.jobs.submit(clash)
    assert [job.id for job in store.jobs.list(None)] == [first.id]


def test_a_spec_of_another_version_is_still_readable(store: Store) -> None:
    job = store.jobs.submit(new_job())
    with store.jobs._db.transaction():
        store.jobs._db.execute(
            """UPDATE jobs SET spec = json_set(spec, '$.from_the_future', 1, '$.noise', 'quantum', '$.steps', 9)"""
        )
    spec = store.jobs.get(job.id).spec
    assert (spec.prompt, spec.noise, spec.steps) == ("a red fox", "cpu", 9)


def test_many_threads_lose_nothing(store: Store) -> None:
    job = store.jobs.submit(new_job())
    finished: list[int] = []

    def work(jobs: JobStore, number: int) -> None:
        for turn in range(20):
            jobs.submit(new_job(f"owner{number}", request_id=f"r{turn // 2}"))
            jobs.add_evaluations(job.id, 0, 1)
            jobs.list(f"owner{number}", active=True)
        finished.append(number)

    threads = [threading.Thread(target=work, args=(store.jobs, number)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(finished) == [*range(6)], "a thread failed"
    assert store.jobs.get(job.id).evaluations == 120
    assert len(store.jobs.unfinished()) == 1 + 6 * 10, "two submits share one request id"


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    first = open_store(tmp_path)
    job = first.jobs.submit(new_job(count=2))
    first.jobs.mark_running(job.id)
    expected = first.jobs.get(job.id)
    first.close()
    second = open_store(tmp_path)
    assert second.jobs.unfinished() == [expected]
    second.close()
