"""The life of an adapter in a stack, as states with told transitions (the seed's pipeline service, section 3.3)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

AdapterState = Literal[
    "unloaded", "loading", "loaded", "validating", "ready", "active", "scaling", "merging", "unloading", "error"
]

# From each state, where it may go. `error` ends in `unloaded`: nothing half-applied stays.
NEXT: Mapping[AdapterState, frozenset[AdapterState]] = {
    "unloaded": frozenset({"loading"}),
    "loading": frozenset({"loaded", "error"}),
    "loaded": frozenset({"validating", "unloading"}),
    "validating": frozenset({"ready", "error"}),
    "ready": frozenset({"active", "unloading", "error"}),
    "active": frozenset({"ready", "scaling", "merging", "unloading", "error"}),
    "scaling": frozenset({"active", "error"}),
    "merging": frozenset({"active", "error"}),
    "unloading": frozenset({"unloaded"}),
    "error": frozenset({"unloaded"}),
}


@dataclass(frozen=True)
class Transition:
    """One step of an adapter's life. `at` is seconds since the epoch; `reason` says why, where there is a why."""

    adapter: str
    before: AdapterState
    after: AdapterState
    at: float
    reason: str = ""


class Lifecycle:
    """One adapter's state.

    Args:
        adapter: the adapter's id.
        tell: gets every transition, to be kept.
    """

    def __init__(self, adapter: str, tell: Callable[[Transition], None] | None = None) -> None:
        self.adapter = adapter
        self.state: AdapterState = "unloaded"
        self._tell = tell

    def to(self, after: AdapterState, reason: str = "") -> None:
        """Go to a state. A way that the table does not have is a mistake of the caller: AssertionError."""
        if after not in NEXT[self.state]:
            raise AssertionError(f"{self.adapter} cannot go from {self.state} to {after}")
        before, self.state = self.state, after
        if self._tell is not None:
            self._tell(Transition(self.adapter, before, after, time.time(), reason))
