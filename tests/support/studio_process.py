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

# The machine may be busy; nothing here measures time.
PATIENCE = 240.0


class StudioProcess:
    """`python -m webui`, as launch.py starts it, on a data folder; what it prints is kept beside the data.

    Args:
        config: the file; None takes the project's own.
        port: 0 takes a free one.
    """

    def __init__(self, data: Path, config: Path | None, *options: str, port: int = 0) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._said, self._errors = (data / f"studio-{self.port}.{name}" for name in ("out", "log"))
        chosen = ("--config", str(config)) if config is not None else ()
        command = [sys.executable, "-m", "webui", "--data", str(data), *chosen, "--port", str(self.port)]
        own = {"HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "1"}
        with self._said.open("wb") as said, self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*command, "--no-browser", *options], cwd=ROOT, env={**os.environ, **own}, stdout=said, stderr=errors
            )
        self.http = httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    def errors(self) -> str:
        """What it has written to its standard error."""
        return self._errors.read_text(encoding="utf-8", errors="replace")

    def refused(self) -> str:
        """Wait until it has ended with status 2; what it said about it."""
        assert self.process.wait(60) == 2, self.errors()[-3000:]
        return self.errors()

    def wait_for_line(self, start: str) -> str:
        """The first line of its output that begins with `start`."""
        end = time.monotonic() + PATIENCE
        while True:
            # A line that is still being written has no end.
            lines = self._said.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
            found = next((line for line in lines if line.startswith(start) and line.endswith("\n")), None)
            if found is not None:
                return found.rstrip("\r\n")
            self._go_on(end, f"no line {start!r}")

    def wait_for_port(self) -> httpx.Response:
        """The first answer of the front page."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return httpx.get(self.url, timeout=10, trust_env=False, headers={"Accept": "text/html"})
            except httpx.TransportError:
                self._go_on(end, "the port does not answer")

    def _go_on(self, end: float, what: str) -> None:
        """A short sleep; an error once it has ended, or patience has."""
        assert self.process.poll() is None, f"it ended: {self.errors()[-3000:]}"
        assert time.monotonic() < end, f"{what}; {self.errors()[-3000:]}"
        time.sleep(0.02)

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
            self._go_on(end, f"{health} never became {wanted}")

    def submit(self, **spec: Any) -> str:
        """Queue a job; its id. An engine that is being replaced says so, and is asked again, as its answer advises."""
        end = time.monotonic() + PATIENCE
        while (answer := self.http.post("/api/v1/jobs", json=spec)).status_code == 503 and time.monotonic() < end:
            time.sleep(0.2)
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

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop; its exit status."""
        self.process.send_signal(number)
        return self.process.wait(90)

    def close(self) -> None:
        """End it whatever it does."""
        self.http.close()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@contextlib.contextmanager
def studio(data: Path, config: Path | None, *options: str, port: int = 0) -> Iterator[StudioProcess]:
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
