"""What the engine tells about its halves of extensions, and the question."""

from __future__ import annotations

from typing import Literal

from engine.protocol.commands import Command
from engine.protocol.frozen import Frozen


class EngineHalf(Frozen):
    """One extension's half in the engine.

    Attributes:
        id: of the extension. adds: what it adds, in words.
        state: "broken" has a reason, and where it is known the place in the extension's code.
    """

    id: str
    state: Literal["on", "broken"] = "on"
    adds: tuple[str, ...] = ()
    reason: str = ""
    detail: str = ""


class EngineHalves(Frozen):
    """Those of the extensions that have one, by folder. `loaded` is False until they were looked at."""

    halves: tuple[EngineHalf, ...] = ()
    loaded: bool = True


class ListEngineHalves(Command[EngineHalves]):
    """What became of the engine's halves of extensions."""

    name = "list_engine_halves"
