"""A real studio for tests: the web process and the engine that it owns, over REST only."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

from engine.settings import ROOT

PATIENCE = 150.0


class StudioProcess:
    """`python -m webui` on a data folder."""

    def __init__(self, data: Path, config: Path, *options: str, port: int = 0) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = data / "studio.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "webui", "--data", str(data), "--config", str(config)),
                    *("--port", str(self.port), "--no-browser", *options),
                ],
                cwd=ROOT,
                env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "2"},
                stdout=log,
                stderr=log,
            )
        self.http = httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    def health(self) -> dict[str, Any]:
        """`/healthz`, or {} while nothing answers."""
        try:
            return dict(self.http.get("/healthz").json())
        except (httpx.HTTPError, ValueError):
            return {}

    def wait_for(self, **wanted: Any) -> dict[str, Any]:
        """Until `/healthz` says all of this."""
        end = time.monotonic() + PATIENCE
        while True:
            health = self.health()
            if all(health.get(key) == value for key, value in wanted.items()):
                return health
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < end, f"{health} never became {wanted}\n{self.log.read_text()[-2000:]}"
            time.sleep(0.05)

    def submit(self, **spec: Any) -> str:
        """Queue a job; its id."""
        answer = self.http.post("/api/v1/jobs", json=spec)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """The job as REST shows it; {} while the engine is away."""
        answer = self.http.get(f"/api/v1/jobs/{job_id}")
        return dict(answer.json()) if answer.status_code == 200 else {}

    def until_job(self, job_id: str, *, step: int | None = None, finished: bool = False) -> dict[str, Any]:
        """Until the job has reached a step, or has ended."""
        end = time.monotonic() + PATIENCE
        while True:
            job = self.job(job_id)
            ended = job.get("status") in ("done", "failed", "canceled")
            if ended and finished:
                return job
            if step is not None and job and (ended or job["progress"]["step"] >= step):
                return job
            assert time.monotonic() < end, job
            time.sleep(0.03)

    def kill(self) -> None:
        """SIGKILL the web process; the engine notices that its standard input closed."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(20)
        self.http.close()

    def close(self) -> None:
        """Ctrl+C."""
        self.http.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()


@contextlib.contextmanager
def studio(data: Path, config: Path, *options: str, port: int = 0) -> Iterator[StudioProcess]:
    """A studio that is ended in any case."""
    process = StudioProcess(data, config, *options, port=port)
    try:
        yield process
    finally:
        process.close()


def wait_until_gone(pid: int) -> None:
    """Until the process has left."""
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(60)


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
