"""uvicorn, as the studio wants it: no access log, short patience at the end, and the signals are ours."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from webui.address import BACKLOG
from webui.gate import Gate

# How long streams and requests may go on after Ctrl+C; the engine's own stop comes after it.
_GRACE_SECONDS = 3
# Longer than clients keep an unused connection (5 s is usual): who closes last never cuts a request that sets out.
KEEP_ALIVE_SECONDS = 75


class StudioServer(uvicorn.Server):
    """uvicorn that leaves the end of the process to us: it stops on the first signal and does not raise it again."""

    def __init__(self, app: Gate) -> None:
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            ws_max_size=65536,
            backlog=BACKLOG,
        )
        super().__init__(config)
        self.stopping = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """SIGINT and SIGTERM ask for a stop; a second one does not wait for open requests."""
        names = ("SIGINT", "SIGTERM", "SIGBREAK")
        before = {s: signal.signal(s, self._stop) for n in names if (s := getattr(signal, n, None)) is not None}
        try:
            yield
        finally:
            # Not put back before the engine has ended: a second Ctrl+C must not leave it behind.
            del before

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True
        self._loop.call_soon_threadsafe(self.stopping.set)
