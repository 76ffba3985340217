"""The engine as a process: settings, logging, the web server, and its end."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import uvicorn

from engine.errors import StudioError
from engine.server.routes import create_app
from engine.server.runtime import Runtime
from engine.settings import load_settings

log = logging.getLogger("easel.engine")


def serve(
    listener: socket.socket,
    token: str,
    *,
    config: Path | None,
    data: str | None,
    leash: Callable[[threading.Event], None],
) -> int:
    """Serve on `listener` until a signal comes or the leash is let go. Returns the exit status."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        runtime = Runtime(load_settings(config, data=data))
    except StudioError as error:
        # The supervisor shows the last lines of this stream.
        print(f"{error.code}: {error}", file=sys.stderr, flush=True)  # noqa: T201
        return 2
    stop = threading.Event()
    threading.Thread(target=leash, args=(stop,), name="easel-leash", daemon=True).start()
    asyncio.run(_serve(listener, token, runtime, stop))
    return 0


async def _serve(listener: socket.socket, token: str, runtime: Runtime, stop: threading.Event) -> None:
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(runtime, token),
            log_level="warning",
            access_log=False,
            lifespan="off",
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
