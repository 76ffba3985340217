"""EventHub: one reader of the engine's events, any number of listeners, numbers that only ever grow."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator

from engine.protocol.events import Event, JobProgressed, PreviewMade

KEPT_EVENTS = 2000
# A listener this far behind (a browser tab in the background) is spared previews and progress until it has caught up.
SLOW_LISTENER = 500


class EventHub:
    """Renumbers events and passes them to every listener.

    An engine counts its events from its own start, so after a restart its numbers begin again. Here they go on; they
    begin at the clock's milliseconds, so they also grow over restarts of the web process, and a page that reconnects
    with an old number misses nothing. Used on one event loop only.
    """

    def __init__(self, *, first_seq: int | None = None, keep: int = KEPT_EVENTS) -> None:
        self.last_seq = int(time.time() * 1000) if first_seq is None else first_seq
        self._kept: deque[Event] = deque(maxlen=keep)
        self._previews: dict[str, PreviewMade] = {}
        self._listeners: set[_Listener] = set()

    def publish(self, event: Event) -> Event:
        """Pass an event on under the next number, and return it as passed on."""
        self.last_seq += 1
        numbered = event.model_copy(update={"seq": self.last_seq})
        if isinstance(numbered, PreviewMade):
            self._previews[numbered.job_id] = numbered
        else:
            self._kept.append(numbered)
            if numbered.kind == "job" and numbered.job.status not in ("queued", "running"):
                self._previews.pop(numbered.job.id, None)
        for listener in self._listeners:
            listener.put(numbered)
        return numbered

    async def follow(self, after: int | None = None) -> AsyncIterator[Event]:
        """Events from now on; with `after`, first those kept that came later. Ends only when the reader stops."""
        listener = _Listener()
        if after is not None:
            for event in self._since(after):
                listener.put(event)
        self._listeners.add(listener)
        try:
            while True:
                yield await listener.take()
        finally:
            self._listeners.discard(listener)

    def _since(self, after: int) -> list[Event]:
        kept: list[Event] = [event for event in self._kept if event.seq > after]
        kept += [preview for preview in self._previews.values() if preview.seq > after]
        return sorted(kept, key=lambda event: event.seq)


class _Listener:
    """One reader's backlog."""

    def __init__(self) -> None:
        self._waiting: deque[Event] = deque()
        self._filled = asyncio.Event()

    def put(self, event: Event) -> None:
        if len(self._waiting) >= SLOW_LISTENER and isinstance(event, PreviewMade | JobProgressed):
            return
        self._waiting.append(event)
        self._filled.set()

    async def take(self) -> Event:
        while not self._waiting:
            self._filled.clear()
            await self._filled.wait()
        return self._waiting.popleft()
