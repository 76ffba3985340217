"""SupervisedClient: an EngineClient that outlives the engines behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TypeVar, cast

from engine.client.base import EngineClient
from engine.client.event_hub import EventHub
from engine.protocol.commands import Command, EngineStatus, GetStatus
from engine.protocol.events import Event
from engine.protocol.frozen import Frozen

Reply = TypeVar("Reply", bound=Frozen)


class SupervisedClient:
    """What the web process holds. While no engine answers, calls raise at once; events simply go on after a restart.

    Args:
        connection: gives the client of the engine that runs now, or raises `EngineLostError`.
        status: the supervisor's own view, for `GetStatus` while no engine answers.
        hub: the events of all engines in a row.
    """

    def __init__(
        self, connection: Callable[[], EngineClient], status: Callable[[], EngineStatus], hub: EventHub
    ) -> None:
        self._connection = connection
        self._status = status
        self._hub = hub

    async def call(self, command: Command[Reply]) -> Reply:
        """See `EngineClient.call`.

        Raises:
            EngineLostError: `engine_starting`, `engine_lost` or `engine_failed_to_start` while no engine answers.
        """
        if isinstance(command, GetStatus):
            return cast(Reply, await self._get_status(command))
        return await self._connection().call(command)

    def events(self, after: int | None = None) -> AsyncIterator[Event]:
        """See `EngineClient.events`; never ends with an error, whatever becomes of the engine."""
        return self._hub.follow(after)

    async def close(self) -> None:
        """See `EngineClient.close`. The supervisor owns the connections, so there is nothing to let go of."""

    async def _get_status(self, command: GetStatus) -> EngineStatus:
        own = self._status()
        if own.state in ("starting", "restarting", "failed", "stopping"):
            return own
        # Read before asking: whatever is published later comes to a listener that attaches after this number.
        last_seq = self._hub.last_seq
        status = await self._connection().call(command)
        return status.model_copy(update={"last_seq": last_seq})
