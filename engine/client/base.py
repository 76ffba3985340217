"""EngineClient: the whole window between an engine and everything else.

Two methods, so that another implementation (a remote fleet, say) stays small. `engine.client.http` speaks to the engine
process; `engine.server.local` runs an engine in this process for tests, notebooks and the command line. Both pass the
suite in tests/contract.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol, TypeVar

from engine.protocol.commands import Command
from engine.protocol.events import Event
from engine.protocol.frozen import Frozen

Reply = TypeVar("Reply", bound=Frozen)

# A client lets an idle connection to the engine process go after this. The engine keeps it longer, so that no call
# finds a line that was closed in the same instant.
IDLE_SECONDS = 5.0


class EngineClient(Protocol):
    """What a user of an engine may do."""

    async def call(self, command: Command[Reply]) -> Reply:
        """Carry out a command and return its answer.

        Raises:
            StudioError: of the class and code that the engine raised; `EngineLostError` where it cannot be reached.
        """
        ...

    def events(self, after: int | None = None) -> AsyncIterator[Event]:
        """Events as they happen, for ever; with `after`, first those that came after that `seq` (as far as kept)."""
        ...

    async def close(self) -> None:
        """Let go of the connection; the engine goes on."""
        ...
