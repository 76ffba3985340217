"""A whole studio without its page, in this process: a real engine on a tiny model, the real REST app, a real port."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from engine.server.local import LocalEngineClient
from engine.settings import Settings
from tests.support.studio_data import make_settings
from webui.app import create_app
from webui.context import Discretion, WebContext, private_folders
from webui.gate import Gate
from webui.live import LiveHub
from webui.studio_server import KEEP_ALIVE_SECONDS
from webui.warming import Entrance, Health

# Loaded machines draw these in time.
SMALL = {"width": 64, "height": 64}


class RunningStudio:
    """What a test needs of it."""

    def __init__(self, settings: Settings, port: int, context: WebContext) -> None:
        self.settings = settings
        self.port = port
        self.context = context
        self.url = f"http://127.0.0.1:{port}"
        self.http = httpx.Client(base_url=self.url, timeout=120, trust_env=False)

    def other_machine(self) -> httpx.Client:
        """A client that is not on this machine, as a proxy in front would pass it on."""
        return httpx.Client(
            base_url=self.url, timeout=120, trust_env=False, headers={"X-Forwarded-For": "192.168.1.77"}
        )

    def make(self, **spec: Any) -> dict[str, Any]:
        """Submit and wait until the job is finished; its view."""
        answer = self.http.post("/api/v1/jobs", json={**SMALL, "prompt": "a red house", "steps": 2, "seed": 7, **spec})
        assert answer.status_code == 202, answer.text
        return self.finished(answer.json()["id"])

    def finished(self, job_id: str, patience: float = 240.0) -> dict[str, Any]:
        """The job once it is done, failed or canceled."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            view: dict[str, Any] = self.http.get(f"/api/v1/jobs/{job_id}").json()
            if view["status"] in ("done", "failed", "canceled"):
                return view
            time.sleep(0.05)
        raise AssertionError(f"job {job_id} is not finished after {patience} s: {view}")


@contextmanager
def running_studio(folder: Path) -> Iterator[RunningStudio]:
    """Start one on a data folder of its own, and stop it."""
    settings = make_settings(folder)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    ready = threading.Event()
    box: dict[str, Any] = {}

    async def serve() -> None:
        client = LocalEngineClient(settings)
        hub = LiveHub(client)
        health = Health(lambda: hub.status().model_dump())
        context = WebContext(client, settings, hub, health, Discretion(private_folders(settings)))
        entrance = Entrance(health)
        entrance.app = create_app(context)
        server = uvicorn.Server(
            uvicorn.Config(
                Gate(entrance),
                lifespan="off",
                log_level="warning",
                proxy_headers=False,
                timeout_graceful_shutdown=2,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
            )
        )
        box.update(context=context, server=server)
        following = asyncio.create_task(hub.run())
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        ready.set()
        await serving
        hub.close()
        following.cancel()
        await client.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="studio")
    thread.start()
    ready.wait()
    studio = RunningStudio(settings, port, box["context"])
    try:
        yield studio
    finally:
        studio.http.close()
        box["context"].hub.close()
        box["server"].should_exit = True
        thread.join()
