"""The whole studio under fire: its processes are killed and stopped for real."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support.studio_data import make_data
from tests.support.studio_process import studio, wait_until_gone

LONG = {"prompt": "a red apple", "steps": 150, "width": 64, "height": 64, "seed": 7, "sampler": "euler"}
SHORT = {**LONG, "steps": 2, "seed": 8}

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs POSIX signals")


@pytest.mark.parametrize("blow", ["SIGKILL", "SIGSTOP"])
def test_an_engine_that_dies_or_hangs_is_replaced_and_the_work_goes_on(tmp_path: Path, blow: str) -> None:
    config = make_data(tmp_path, snapshot=0.05, heartbeat=5.0)
    with studio(tmp_path, config) as house:
        house.wait_for(web="ok", engine="ready")
        running, queued = house.submit(**LONG), house.submit(**SHORT)
        house.until_job(running, step=30)
        # On a very busy machine the first one may have been replaced by now.
        first = house.wait_for(web="ok", engine="ready")["engine_pid"]
        os.kill(first, getattr(signal, blow))
        job = house.until_job(running, finished=True)
        assert job["status"] == "done", job["error"]
        assert len(job["images"]) == 1
        assert "resumed" in [notice["code"] for notice in job["notices"]]
        assert house.until_job(queued, finished=True)["status"] == "done"
        health = house.wait_for(web="ok", engine="ready")
        assert health["engine_pid"] != first
        wait_until_gone(first)


def test_a_killed_web_process_takes_the_engine_along_and_loses_nothing(tmp_path: Path) -> None:
    config = make_data(tmp_path, snapshot=0.05)
    with studio(tmp_path, config) as house:
        engine = house.wait_for(web="ok", engine="ready")["engine_pid"]
        running, queued = house.submit(**LONG), house.submit(**SHORT)
        house.until_job(running, step=10)
        house.kill()
    wait_until_gone(engine)
    with studio(tmp_path, config) as house:
        house.wait_for(web="ok")
        assert house.until_job(running, finished=True)["status"] == "done"
        assert house.until_job(queued, finished=True)["status"] == "done"
        assert len(list((tmp_path / "outputs").glob("*.png"))) == 2


def test_a_second_studio_on_the_same_folder_is_refused_with_a_sentence(tmp_path: Path) -> None:
    config = make_data(tmp_path)
    with studio(tmp_path, config) as house:
        # The port answers a moment before the folder is locked.
        house.wait_for(web="ok", engine="ready")
        with studio(tmp_path, config) as second:
            said = second.refused()
        assert "already" in said or "in use" in said
        assert house.health()["web"] == "ok"
