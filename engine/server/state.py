"""StateMachine: what the engine as a whole is doing, visible to everybody."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from engine.protocol.events import EngineState, EngineStateChanged, Event

ALLOWED: Mapping[EngineState, frozenset[EngineState]] = {
    "starting": frozenset({"warming", "failed", "stopping"}),
    "warming": frozenset({"warming", "ready", "failed", "stopping"}),
    "ready": frozenset({"warming", "stopping", "failed"}),
    "failed": frozenset({"stopping"}),
    "stopping": frozenset(),
    "restarting": frozenset(),
}


class StateMachine:
    """Starting → warming → ready → stopping; `restarting` is the supervisor's word for an engine that is gone."""

    def __init__(self, publish: Callable[[Event], None]) -> None:
        self._publish = publish
        self.state: EngineState = "starting"
        self.message = "Starting."
        self.fraction: float | None = None
        self.device = ""

    def move(self, state: EngineState, message: str, fraction: float | None = None) -> None:
        """Enter a state and tell it. A transition that the table does not have is a fault of ours."""
        if self.state == "stopping":
            # The worker's thread may still be warming up when it is told to stop; nobody waits for that any more.
            return
        if state not in ALLOWED[self.state]:
            raise AssertionError(f"the engine cannot go from {self.state} to {state}")
        self.state, self.message, self.fraction = state, message, fraction
        self._publish(EngineStateChanged(state=state, message=message, fraction=fraction))
