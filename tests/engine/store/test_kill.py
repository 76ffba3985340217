"""Kill -9 at any moment: what was acknowledged is there, and nothing is there by halves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.store.store import open_store

ROOT = Path(__file__).resolve().parents[3]
CHILD = """
import sys
from pathlib import Path
from engine.store.store import open_store
from tests.engine.store.making import image_of, new_job

store = open_store(Path(sys.argv[1]))
while True:
    job = store.jobs.submit(new_job(count=3))
    print("submitted", job.id, flush=True)
    store.history.record(image_of(job, 0), media_type="image/png", owner="ann")
    print("recorded", job.id, flush=True)
"""


# Different amounts of output end the child at different places of its loop.
@pytest.mark.parametrize("lines", [1, 32, 75])
def test_every_acknowledged_job_survives_a_kill(tmp_path: Path, lines: int) -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT, text=True)
    assert child.stdout is not None
    told = [child.stdout.readline().split() for _ in range(lines)]
    child.kill()
    # What was said between our last look and the kill counts too; a torn last line does not.
    told += [line.split() for line in child.stdout.read().split("\n")[:-1]]
    child.stdout.close()
    child.wait()
    submitted = {job_id for word, job_id in told if word == "submitted"}
    recorded = {job_id for word, job_id in told if word == "recorded"}
    assert submitted, "the child did not start"

    store = open_store(tmp_path)
    jobs = {job.id: job for job in store.jobs.unfinished()}
    assert submitted <= set(jobs)
    assert len(jobs) <= len(submitted) + 1, "at most the one that was being submitted is there as well"
    for job in jobs.values():
        assert len(job.tasks) == 3
        pictures = store.history.for_job(job.id)
        assert (job.tasks[0].status == "done") == (len(pictures) == 1), "the row and the task are one transaction"
    assert recorded <= {job.id for job in jobs.values() if job.tasks[0].status == "done"}
    assert store.jobs._db.value("PRAGMA integrity_check") == "ok"
    store.jobs._db.execute("INSERT INTO images_fts (images_fts, rank) VALUES ('integrity-check', 1)")
    store.close()
