"""LocalEngineClient: a whole engine inside this process, for tests, notebooks and the command line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeVar

from engine.protocol.commands import Command
from engine.protocol.events import Event
from engine.protocol.frozen import Frozen
from engine.server.runtime import Runtime
from engine.settings import ROOT, Settings

Reply = TypeVar("Reply", bound=Frozen)


class LocalEngineClient:
    """The same engine as `python -m engine`, without a process boundary. `close()` stops it.

    Args:
        extensions: the folder of extensions; None loads none.
    """

    def __init__(self, settings: Settings, *, extensions: Path | None = ROOT / "extensions") -> None:
        self._runtime = Runtime(settings, extensions=extensions)
        self._runtime.start()

    async def call(self, command: Command[Reply]) -> Reply:
        """See `EngineClient.call`. Values go through JSON, as they do over the wire."""
        sent = type(command).model_validate_json(command.model_dump_json(by_alias=True))
        reply: Any = await self._runtime.dispatch.call(sent)
        return command.reply_type.model_validate_json(reply.model_dump_json(by_alias=True))  # type: ignore[return-value]

    def events(self, after: int | None = None) -> AsyncIterator[Event]:
        """See `EngineClient.events`."""
        return self._runtime.events.listen(after)

    async def close(self) -> None:
        """Stop the engine; queued jobs stay in the store."""
        self._runtime.stop()
