"""An engine in this process that scenarios are played against, one after another, on one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from engine.client.base import EngineClient
from engine.protocol.commands import GetStatus
from engine.server.local import LocalEngineClient
from engine.settings import Settings

Play = Callable[[Callable[[EngineClient], Coroutine[Any, Any, Any]]], Any]


@contextmanager
def playing(settings: Settings) -> Iterator[Play]:
    """Plays a scenario to its end, which must come within two minutes; the engine is ready."""
    loop = asyncio.new_event_loop()
    client = LocalEngineClient(settings)

    async def ready() -> None:
        while (await client.call(GetStatus())).state != "ready":
            await asyncio.sleep(0.05)

    loop.run_until_complete(ready())
    yield lambda scenario: loop.run_until_complete(asyncio.wait_for(scenario(client), 120))
    loop.run_until_complete(client.close())
    loop.close()
