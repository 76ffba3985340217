"""The engine as a process: settings, logging, the web server, and its end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path

import uvicorn

from engine import platform
from engine.client.base import IDLE_SECONDS
from engine.errors import StudioError
from engine.server.routes import create_app
from engine.server.runtime import Runtime
from engine.settings import ROOT, load_settings

log = logging.getLogger("easel.engine")

# The last evaluation may take a while on a slow machine; then the snapshot has to do.
STOP_SECONDS = 25.0
# While the worker computes, every other thread waits this long for the interpreter, several times in one answer. With
# Python's 5 ms a submit took 50 ms on two cores; the worker loses nothing, since torch works outside the interpreter.
SWITCH_SECONDS = 0.0005


def serve(
    listener: socket.socket,
    token: str,
    *,
    config: Path | None,
    data: str | None,
    extensions: Path | None = ROOT / "extensions",
) -> int:
    """Serve on `listener` until a signal comes or standard input closes. Returns the exit status.

    `extensions` is their folder; None loads none.
    """
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        runtime = Runtime(load_settings(config, data=data), extensions=extensions)
    except StudioError as error:
        # The supervisor shows the last lines of this stream.
        print(f"{error.code}: {error}", file=sys.stderr, flush=True)  # noqa: T201
        return 2
    sys.setswitchinterval(SWITCH_SECONDS)
    stop = threading.Event()
    platform.watch_stdin(lambda: _let_go(stop))
    asyncio.run(_serve(listener, token, runtime, stop))
    return 0


def _let_go(stop: threading.Event) -> None:
    """Whoever started this process is gone: stop, and insist after a while."""
    stop.set()
    insist = threading.Timer(STOP_SECONDS, os._exit, args=(1,))
    insist.daemon = True
    insist.start()


async def _serve(listener: socket.socket, token: str, runtime: Runtime, stop: threading.Event) -> None:
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(runtime, token),
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_keep_alive=int(12 * IDLE_SECONDS),
            timeout_graceful_shutdown=2,
        )
    )
    loop = asyncio.get_running_loop()
    for name in ("SIGTERM", "SIGINT"):
        signal.signal(getattr(signal, name), lambda *_: stop.set())
    runtime.start()
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    waiting = loop.run_in_executor(None, _until_set, stop, serving)
    await asyncio.wait({serving, asyncio.ensure_future(waiting)}, return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    await asyncio.to_thread(runtime.stop)
    server.should_exit = True
    await serving


def _until_set(stop: threading.Event, serving: asyncio.Task[None]) -> None:
    while not stop.wait(0.25):
        if serving.done():
            return
