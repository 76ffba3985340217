"""HttpEngineClient: an engine in another process, over HTTP and server-sent events on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TypeVar

import httpx
from httpx_sse import SSEError, aconnect_sse

from engine.client.base import IDLE_SECONDS
from engine.errors import EngineLostError, from_wire
from engine.protocol.commands import Command
from engine.protocol.events import EVENT, Event
from engine.protocol.frozen import Frozen

Reply = TypeVar("Reply", bound=Frozen)

CALL_TIMEOUT = httpx.Timeout(60.0, connect=5.0)
# The engine sends a ping every two seconds; silence for longer means that it is gone.
EVENT_TIMEOUT = httpx.Timeout(20.0, connect=5.0)


class HttpEngineClient:
    """Speaks to `python -m engine`.

    Args:
        url: such as `http://127.0.0.1:41234`.
        token: the bearer token that the engine was started with.
    """

    def __init__(self, url: str, token: str) -> None:
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=CALL_TIMEOUT,
            trust_env=False,
            limits=httpx.Limits(max_connections=64, max_keepalive_connections=16, keepalive_expiry=IDLE_SECONDS),
        )

    async def call(self, command: Command[Reply]) -> Reply:
        """See `EngineClient.call`."""
        try:
            answer = await self._http.post(
                f"/call/{command.name}",
                content=command.model_dump_json(by_alias=True),
                headers={"Content-Type": "application/json"},
            )
        except httpx.HTTPError as error:
            raise lost(error) from error
        if answer.status_code != 200:
            raise from_wire(_body(answer))
        return command.reply_type.model_validate_json(answer.content)  # type: ignore[return-value]

    async def events(self, after: int | None = None) -> AsyncIterator[Event]:
        """See `EngineClient.events`. Ends with `EngineLostError` when the engine goes away."""
        query = {} if after is None else {"after": str(after)}
        try:
            async with aconnect_sse(self._http, "GET", "/events", params=query, timeout=EVENT_TIMEOUT) as source:
                if source.response.status_code != 200:
                    await source.response.aread()
                    raise from_wire(_body(source.response))
                async for message in source.aiter_sse():
                    # A ping after a numbered event is read as an event without data.
                    if message.data:
                        yield EVENT.validate_json(message.data)
        except (httpx.HTTPError, SSEError) as error:
            raise lost(error) from error
        raise EngineLostError("engine_lost", "The engine closed the connection.", "It is being restarted.")

    async def beat(self, timeout: float = 5.0) -> float:
        """Seconds since the engine's worker last showed life; `EngineLostError` where the engine does not answer."""
        try:
            answer = await self._http.get("/heartbeat", timeout=timeout)
        except httpx.HTTPError as error:
            raise lost(error) from error
        if answer.status_code != 200:
            raise from_wire(_body(answer))
        return float(answer.json()["worker_beat_age"])

    async def close(self) -> None:
        """See `EngineClient.close`."""
        await self._http.aclose()


def lost(error: Exception) -> EngineLostError:
    """The transport error as what it means for a person."""
    detail = str(error) or type(error).__name__
    return EngineLostError(
        "engine_lost", f"The engine does not answer ({detail}).", "It is being restarted; try again."
    )


def _body(answer: httpx.Response) -> dict[str, object]:
    try:
        body = answer.json()
    except ValueError:
        body = None
    return body if isinstance(body, dict) else {"error": {"message": f"The engine answered {answer.status_code}."}}
