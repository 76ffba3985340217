"""A real engine process for tests: started, talked to, stopped and killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from engine.client.http import HttpEngineClient

ROOT = Path(__file__).resolve().parents[2]


class EngineProcess:
    """`python -m engine` on a data folder. `pid`, `url` and `token` are as the ready line says."""

    def __init__(self, data: Path, config: Path) -> None:
        self.token = secrets.token_hex(16)
        environment = {
            **os.environ,
            "EASEL_ENGINE_TOKEN": self.token,
            "OMP_WAIT_POLICY": "passive",
            "HF_HUB_OFFLINE": "1",
            "PYTHONPATH": str(ROOT),
        }
        self.log = (data / "engine.log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "engine", "--config", str(config), "--data", str(data)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            cwd=ROOT,
            env=environment,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError((data / "engine.log").read_text()[-2000:])
        self.ready = json.loads(line)
        self.pid: int = self.ready["pid"]
        self.url = f"http://127.0.0.1:{self.ready['port']}"

    def client(self) -> HttpEngineClient:
        """A client of this process."""
        return HttpEngineClient(self.url, self.token)

    def kill(self) -> None:
        """SIGKILL, as the kernel does when memory is short."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(20)

    def let_go(self) -> int:
        """Close its standard input, as a dying parent does; the exit status."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._process.wait(40)

    def close(self) -> None:
        """End it whatever it does."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
        self.log.close()


@contextlib.asynccontextmanager
async def running_engine(data: Path, config: Path) -> AsyncIterator[tuple[EngineProcess, HttpEngineClient]]:
    """A process and its client, ended in any case."""
    process = await asyncio.to_thread(EngineProcess, data, config)
    client = process.client()
    try:
        yield process, client
    finally:
        await client.close()
        await asyncio.to_thread(process.close)
