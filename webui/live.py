"""Live data: one reader of the engine's events for the whole web process, fanned out to every open page.

Numbers are the client's own. The supervised client's only grow, over restarts of the engine and of this process, so a
page can always say which one it saw last.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from engine.client.base import EngineClient
from engine.errors import StudioError
from engine.protocol.commands import EngineStatus, GetJob, GetStatus
from engine.protocol.events import (
    EngineStateChanged,
    Event,
    JobChanged,
    JobProgressed,
    LibraryChanged,
    PreviewMade,
    QueueChanged,
)
from engine.protocol.jobs import FINISHED, JobView

KEPT_MESSAGES = 1000
# A page that is this many messages behind loses its previews; further behind it is let go and comes back.
PREVIEWS_DROPPED_AT = 64
SESSION_LIMIT = 1000
_RETRY_SECONDS = 0.3
# How long a waiter trusts the stream before it looks at the job itself.
_LOOK_SECONDS = 5.0


@dataclass(frozen=True)
class LiveMessage:
    """An event as it goes to pages: serialised once. Of messages with the same `key` only the newest matters."""

    seq: int
    owner: str | None
    key: tuple[object, ...]
    event: Event
    text: str

    @property
    def is_preview(self) -> bool:
        return isinstance(self.event, PreviewMade)


class LiveSession:
    """One open page or SSE reader: what is still to be sent. Putting never waits; newer previews replace older."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.ended = False
        self.resync = False
        self._waiting: dict[tuple[object, ...], LiveMessage] = {}
        self._wake = asyncio.Event()

    def put(self, message: LiveMessage) -> None:
        """Add a message; a session that is hopelessly behind is ended instead."""
        self._waiting.pop(message.key, None)
        if message.is_preview and len(self._waiting) >= PREVIEWS_DROPPED_AT:
            return
        self._waiting[message.key] = message
        if len(self._waiting) > SESSION_LIMIT:
            self._waiting.clear()
            self.end()
        self._wake.set()

    def ask_resync(self) -> None:
        """Events may have been lost: the page needs the whole state again."""
        self.resync = True
        self._wake.set()

    def end(self) -> None:
        """No more messages; `take` returns nothing."""
        self.ended = True
        self._wake.set()

    async def take(self, timeout: float | None = None) -> list[LiveMessage]:
        """What is waiting, oldest first; [] when ended, at a resync, or after `timeout` seconds."""
        if not self._waiting and not self.ended and not self.resync:
            try:
                await asyncio.wait_for(self._wake.wait(), timeout)
            except TimeoutError:
                return []
        self._wake.clear()
        messages, self._waiting = list(self._waiting.values()), {}
        return [] if self.ended else messages


class LiveHub:
    """Reads `client.events()` for ever and hands every message to the sessions that may see it.

    Args:
        client: the engine; it may come and go.
        on_state: called with each state of the engine that is new.
    """

    def __init__(self, client: EngineClient, on_state: Callable[[EngineStatus], None] | None = None) -> None:
        self._client = client
        self._on_state = on_state
        self._seq = 0
        self._kept: deque[LiveMessage] = deque(maxlen=KEPT_MESSAGES)
        self._sessions: set[LiveSession] = set()
        self._state = EngineStatus(state="starting")
        self._closed = False
        self.events_seen = 0

    @property
    def last_seq(self) -> int:
        """The number of the newest message."""
        return self._seq

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def session_count(self) -> int:
        return len(self._sessions)

    def status(self) -> EngineStatus:
        """The engine's state as last heard; `last_seq` is the newest message's."""
        return self._state.model_copy(update={"last_seq": self._seq})

    async def run(self) -> None:
        """Until cancelled or closed. A stream that breaks is taken up again where it broke."""
        while not self._closed:
            try:
                await self._follow()
            except StudioError:
                # The engine is starting, or lost; whoever runs it brings it back and says so.
                await asyncio.sleep(_RETRY_SECONDS)

    async def _follow(self) -> None:
        status = await self._client.call(GetStatus())
        # No number yet, or another engine whose numbers begin again: pages get everything by the resync.
        after = self._seq if 0 < self._seq <= status.last_seq else status.last_seq
        self._seq = after
        await self._note_state(status)
        self._ask_resync()
        async for event in self._client.events(after=after):
            self.events_seen += 1
            self.publish(event)
            if isinstance(event, EngineStateChanged):
                fields = {"state": event.state, "message": event.message, "fraction": event.fraction}
                await self._note_state(self._state.model_copy(update=fields))

    async def _note_state(self, status: EngineStatus) -> None:
        """Keep a state. Of an engine that has come (back), ask device and pid; pages get everything again."""
        before, self._state = self._state.state, status
        if status.state == before:
            return
        if status.state in ("warming", "ready"):
            try:
                told = await self._client.call(GetStatus())
                self._state = status.model_copy(update={"pid": told.pid, "device": told.device})
            except StudioError:
                # Gone again; its next state comes by the stream.
                return
            if before not in ("warming", "ready"):
                self._ask_resync()
        if self._on_state is not None:
            self._on_state(self._state)

    def _ask_resync(self) -> None:
        for session in self._sessions:
            session.ask_resync()

    def publish(self, event: Event) -> None:
        """Hand an event out."""
        self._seq = max(self._seq, event.seq)
        text = event.model_dump_json(by_alias=True)
        message = LiveMessage(event.seq, event.owner, _key(event), event, text)
        if not message.is_preview:
            self._kept.append(message)
        for session in self._sessions:
            if message.owner is None or message.owner == session.owner:
                session.put(message)

    @contextmanager
    def session(self, owner: str, after: int | None = None) -> Iterator[LiveSession]:
        """Attach a page; with `after`, what it missed since that number comes first, as far as kept."""
        session = LiveSession(owner)
        if after is not None:
            for message in self._kept:
                if message.seq > after and message.owner in (None, owner):
                    session.put(message)
        self._sessions.add(session)
        if self._closed:
            session.end()
        try:
            yield session
        finally:
            self._sessions.discard(session)

    async def wait_finished(self, job_id: str, owner: str) -> JobView:
        """The job when it is done, failed or canceled. Waits through restarts of the engine."""
        with self.session(owner) as session:
            while True:
                try:
                    view = await self._client.call(GetJob(owner=owner, job_id=job_id))
                    if view.status in FINISHED or session.ended:
                        return view
                except StudioError as error:
                    if error.code not in ("engine_lost", "engine_starting") or session.ended:
                        raise
                await _until_finished(session, job_id)

    def close(self) -> None:
        """End all sessions: the studio stops."""
        self._closed = True
        for session in list(self._sessions):
            session.end()


async def _until_finished(session: LiveSession, job_id: str) -> None:
    """Return when the stream says that the job is finished, at a resync, or after a while at the latest."""
    async for message in _messages(session):
        event = message.event
        if isinstance(event, JobChanged) and event.job.id == job_id and event.job.status in FINISHED:
            return


async def _messages(session: LiveSession) -> AsyncIterator[LiveMessage]:
    while not session.ended:
        batch = await session.take(_LOOK_SECONDS)
        if not batch:
            session.resync = False
            return
        for message in batch:
            yield message


def _key(event: Event) -> tuple[object, ...]:
    if isinstance(event, PreviewMade):
        return ("preview", event.job_id, event.job_index)
    if isinstance(event, JobProgressed):
        return ("progress", event.job_id)
    if isinstance(event, EngineStateChanged | QueueChanged | LibraryChanged):
        return (event.kind,)
    return (event.seq,)
