"""FailureLimit: wrong passwords slow down whoever sends them. Standard library only, like the gate it belongs to."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

from engine.errors import AccessError

# Wrong passwords: from one address, and from all together, within the window.
FAILURES_PER_ADDRESS = 8
FAILURES_IN_ALL = 200
WINDOW_SECONDS = 300.0


class FailureLimit:
    """Counts wrong passwords by address, in a sliding window."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: deque[tuple[float, str]] = deque()

    def wait(self, address: str) -> int:
        """Whole seconds until this address may try again; 0 where it may now."""
        now = self._clock()
        while self._failures and self._failures[0][0] <= now - WINDOW_SECONDS:
            self._failures.popleft()
        everybody = [when for when, _ in self._failures]
        own = [when for when, who in self._failures if who == address]
        # A limit is kept again once the oldest of its last so many failures has left the window.
        ends = [
            times[-limit] + WINDOW_SECONDS
            for times, limit in ((own, FAILURES_PER_ADDRESS), (everybody, FAILURES_IN_ALL))
            if len(times) >= limit
        ]
        return math.ceil(max(ends, default=now) - now)

    def add(self, address: str) -> None:
        """One more wrong password."""
        self._failures.append((self._clock(), address))


def locked_out(seconds: int) -> AccessError:
    """What to tell whoever has to wait that long."""
    minutes = math.ceil(seconds / 60)
    when = f"{seconds} seconds" if seconds < 60 else f"{minutes} minutes" if minutes > 1 else "1 minute"
    return AccessError(
        "too_many_passwords",
        "Too many wrong passwords were sent, so for a while none is looked at.",
        f"Try again in {when}.",
    )
