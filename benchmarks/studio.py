"""A real studio in processes of its own, for benchmarks: started on a fresh data folder, spoken to over REST."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from engine.launcher.threads import engine_environment

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 180.0


class Studio:
    """`python -m webui` on `data`; `process.pid` is the web process, `started` the moment before it was started."""

    def __init__(self, data: Path) -> None:
        self.port = free_port()
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "webui", "--data", str(data), "--port", str(self.port), "--no-browser"],
            cwd=ROOT,
            env=engine_environment(os.environ),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=120, trust_env=False)

    def health(self) -> Mapping[str, Any]:
        """`/healthz`, or {} while nothing answers."""
        try:
            return dict(self.http.get("/healthz").json())
        except (httpx.HTTPError, json.JSONDecodeError):
            return {}

    def wait_until_ready(self) -> None:
        """Until the engine can generate. Raises RuntimeError after three minutes."""
        while self.health().get("engine") != "ready":
            if time.perf_counter() - self.started > START_SECONDS:
                raise RuntimeError("the studio did not become ready")
            time.sleep(0.05)

    def generate(self, **fields: Any) -> dict[str, Any]:
        """One picture through `POST /generate`, which waits for it."""
        answer = self.http.post("/generate", json=fields)
        answer.raise_for_status()
        return dict(answer.json())

    def paint(self, **spec: Any) -> dict[str, Any]:
        """One job from its submit to its end, looked at every 10 ms. Raises RuntimeError where it fails."""
        job = self.http.post("/api/v1/jobs", json=spec).raise_for_status().json()
        while job["status"] in ("queued", "running"):
            time.sleep(0.01)
            job = self.http.get(f"/api/v1/jobs/{job['id']}").raise_for_status().json()
        if job["status"] != "done":
            raise RuntimeError(f"the job ended as {job['status']}: {job['error']}")
        return dict(job)

    def close(self) -> None:
        """Stop it as a person would."""
        self.http.close()
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()


@contextmanager
def running_studio(data: Path) -> Iterator[Studio]:
    """A studio that is stopped in any case."""
    studio = Studio(data)
    try:
        yield studio
    finally:
        studio.close()


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
