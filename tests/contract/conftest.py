"""The same suite on both clients: the engine in this process, and the engine in its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.client.base import EngineClient
from tests.support.engine_process import running_engine
from tests.support.studio_data import make_data, make_settings

Scenario = Callable[[EngineClient], Coroutine[Any, Any, None]]


@asynccontextmanager
async def _local(data: Path) -> AsyncIterator[EngineClient]:
    from engine.server.local import LocalEngineClient

    client = LocalEngineClient(make_settings(data))
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def _http(data: Path) -> AsyncIterator[EngineClient]:
    async with running_engine(data, make_data(data)) as (_, client):
        yield client


@pytest.fixture(params=["local", "http"])
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Scenario], None]:
    """Run a scenario against a fresh engine of either sort."""
    opening = {"local": _local, "http": _http}[request.param]

    def run(scenario: Scenario) -> None:
        async def whole() -> None:
            async with opening(tmp_path) as client:
                await asyncio.wait_for(scenario(client), 120)

        asyncio.run(whole())

    return run
