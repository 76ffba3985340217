"""EventHub: from any thread of the engine to every listening client, in order."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from engine.protocol.events import Event, JobChanged, JobProgressed, PreviewMade
from engine.protocol.jobs import FINISHED

KEPT_EVENTS = 2000
# A client that reads too slowly loses previews first; one that is this far behind is let go and resumes by seq.
PREVIEW_BACKLOG = 32
LISTENER_BACKLOG = 4000


class _Listener:
    """One client's queue, fed from any thread, read on its own event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.queue: asyncio.Queue[Event | None] = asyncio.Queue()

    def put(self, event: Event) -> None:
        """Called on the loop."""
        waiting = self.queue.qsize()
        if waiting > PREVIEW_BACKLOG and isinstance(event, PreviewMade):
            return
        self.queue.put_nowait(event if waiting < LISTENER_BACKLOG else None)


class EventHub:
    """Numbers events, keeps the newest for clients that resume, and hands them out.

    Of previews and progress only the newest is kept, so that a page that reloads sees it at once and a long job does
    not push everything else out.
    Locking: one lock, held for list work only; nothing is called back under it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seq = 0
        self._kept: deque[Event] = deque(maxlen=KEPT_EVENTS)
        # (job, picture) → its newest preview; (job, None) → the job's newest progress.
        self._newest: dict[tuple[str, int | None], PreviewMade | JobProgressed] = {}
        self._listeners: list[_Listener] = []
        self._closed = False

    @property
    def last_seq(self) -> int:
        """The number of the newest event."""
        return self._seq

    def publish(self, event: Event) -> None:
        """Number the event, stamp its time, keep it, and send it to all listeners. Any thread."""
        with self._lock:
            self._seq += 1
            numbered: Event = event.model_copy(update={"seq": self._seq, "at": time.time()})
            self._keep(numbered)
            listeners = list(self._listeners)
        for listener in listeners:
            _call(listener, numbered)

    def forget_preview(self, job_id: str, job_index: int) -> None:
        """The picture is finished: its preview is of no more use."""
        with self._lock:
            self._newest.pop((job_id, job_index), None)

    async def listen(self, after: int | None = None) -> AsyncIterator[Event]:
        """Events after `after` that are still kept, the current previews, then new ones until the hub closes."""
        listener = _Listener(asyncio.get_running_loop())
        with self._lock:
            missed: list[Event] = [e for e in self._kept if after is not None and e.seq > after]
            missed += [e for e in self._newest.values() if isinstance(e, PreviewMade) or e.seq > (after or 0)]
            missed.sort(key=lambda e: e.seq)
            if self._closed:
                return
            self._listeners.append(listener)
        try:
            for event in missed:
                yield event
            while (event_or_end := await listener.queue.get()) is not None:
                yield event_or_end
        finally:
            with self._lock:
                self._listeners.remove(listener)

    def _keep(self, event: Event) -> None:
        """Called under the lock."""
        if isinstance(event, PreviewMade):
            self._newest[event.job_id, event.job_index] = event
        elif isinstance(event, JobProgressed):
            self._newest[event.job_id, None] = event
        else:
            self._kept.append(event)
            if isinstance(event, JobChanged) and event.job.status in FINISHED:
                self._newest = {key: kept for key, kept in self._newest.items() if key[0] != event.job.id}

    def close(self) -> None:
        """End every stream."""
        with self._lock:
            self._closed = True
            listeners = list(self._listeners)
        for listener in listeners:
            try:
                listener.loop.call_soon_threadsafe(listener.queue.put_nowait, None)
            except RuntimeError:
                continue


def _call(listener: _Listener, event: Any) -> None:
    try:
        listener.loop.call_soon_threadsafe(listener.put, event)
    except RuntimeError:
        # That client's loop has ended; its `listen` takes it off the list.
        return
