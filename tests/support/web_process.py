"""`python -m webui` as a process of its own, as launch.py starts it."""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from engine.settings import ROOT


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class WebProcess:
    """A running web process and what it prints."""

    def __init__(self, *arguments: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.started = time.monotonic()
        command = [sys.executable, "-m", "webui", "--no-browser", "--port", str(self.port), *arguments]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self.errors: list[str] = []
        self._readers = [
            threading.Thread(target=self._read_output, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read_output(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self.errors.extend(self.process.stderr)

    def wait_for_line(self, start: str, patience: float = 240.0) -> str:
        """The first line of output that begins with `start`."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            try:
                line = self.lines.get(timeout=0.2)
            except queue.Empty:
                if self.process.poll() is not None:
                    raise AssertionError(f"it ended: {''.join(self.errors)}") from None
                continue
            if line.startswith(start):
                return line
        raise AssertionError(f"no line {start!r} within {patience} s; {''.join(self.errors)}")

    def wait_for_port(self, patience: float = 60.0) -> httpx.Response:
        """The first answer of the front page."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            try:
                return httpx.get(self.url, timeout=10, trust_env=False, headers={"Accept": "text/html"})
            except httpx.TransportError:
                if self.process.poll() is not None:
                    raise AssertionError(f"it ended: {''.join(self.errors)}") from None
                time.sleep(0.01)
        raise AssertionError("the port does not answer")

    def stop(self, number: int = signal.SIGTERM, patience: float = 90.0) -> int:
        """Ask it to stop; its exit status."""
        self.process.send_signal(number)
        return self.process.wait(patience)


@contextmanager
def web_process(*arguments: str, port: int | None = None) -> Iterator[WebProcess]:
    """Start one; it is gone afterwards whatever happens."""
    running = WebProcess(*arguments, port=port)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.terminate()
            try:
                running.process.wait(60)
            except subprocess.TimeoutExpired:
                running.process.kill()
                running.process.wait()


def data_arguments(folder: Path, config: Path) -> list[str]:
    """`--data` and `--config` for a folder."""
    return ["--data", str(folder), "--config", str(config)]
