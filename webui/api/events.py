"""/api/v1/events (server-sent events) and /ws (the page's own stream): the same messages over two transports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, WebSocket
from starlette.responses import Response, StreamingResponse
from starlette.websockets import WebSocketDisconnect

from engine.errors import StudioError
from engine.protocol.commands import ListJobs
from engine.protocol.jobs import JobView
from webui.context import WebContext, owner_of, web
from webui.gate import is_local
from webui.live import LiveSession

router = APIRouter(tags=["events"])
PING_SECONDS = 15.0
RECENT_JOBS = 8
# Past every number that a hub can have given; larger ones are no numbers of ours.
_SEQ_LIMIT = 2**62


@router.get("/api/v1/events", response_class=StreamingResponse)
async def events(
    request: Request,
    after: Annotated[int | None, Query(ge=0, le=_SEQ_LIMIT)] = None,
    last_event_id: Annotated[str | None, Header(max_length=40)] = None,
) -> Response:
    """Everything that happens, as server-sent events: `id` is the number, `data` an Event as JSON (see `kind`).

    With `Last-Event-ID` (or `after`) what was missed comes first, as far as kept. An event named `resync` says that
    some may be lost, for instance because the engine was restarted: look at the jobs again.
    """
    if last_event_id is not None and last_event_id.isascii() and last_event_id.isdigit():
        after = min(int(last_event_id), _SEQ_LIMIT)
    stream = _server_sent(request, web(request), owner_of(request), after)
    return StreamingResponse(
        stream, media_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )


async def _server_sent(request: Request, context: WebContext, owner: str, after: int | None) -> AsyncIterator[str]:
    clean = str if is_local(request.scope) else context.discretion.clean
    with context.hub.session(owner, after) as session:
        yield f": Easel, at {context.hub.last_seq}\n\n"
        while not session.ended:
            batch = await session.take(PING_SECONDS)
            if session.resync:
                session.resync = False
                yield "event: resync\ndata: {}\n\n"
            elif not batch:
                yield ": still here\n\n"
            for message in batch:
                yield f"id: {message.seq}\ndata: {clean(message.text)}\n\n"


@router.websocket("/ws")
async def page_stream(socket: WebSocket, after: int | None = None) -> None:
    """The page's stream. First `hello` with the engine's state and my jobs; then events; `hello` again after a gap."""
    context, owner = web(socket), owner_of(socket)
    await socket.accept()
    with context.hub.session(owner, after) as session:
        listener = asyncio.create_task(_listen(socket, session))
        try:
            await _send_all(socket, context, session)
        except (WebSocketDisconnect, RuntimeError):
            # Gone while we were sending; Starlette says it with either.
            return
        finally:
            listener.cancel()


async def _send_all(socket: WebSocket, context: WebContext, session: LiveSession) -> None:
    clean = str if is_local(socket.scope) else context.discretion.clean
    await socket.send_text(clean(await hello(context, session.owner)))
    while True:
        batch = await session.take()
        if session.ended:
            await socket.close(1012 if context.hub.closed else 1013)
            return
        if session.resync:
            session.resync = False
            await socket.send_text(clean(await hello(context, session.owner)))
        for message in batch:
            await socket.send_text(clean(message.text))


async def _listen(socket: WebSocket, session: LiveSession) -> None:
    """Nothing is expected from the page; this notices that it went away."""
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            session.end()
            return


async def hello(context: WebContext, owner: str) -> str:
    """`{"kind": "hello", "status": EngineStatus, "jobs": [JobView]}`: active jobs and the last few."""
    jobs: dict[str, JobView] = {}
    try:
        active = await context.call(ListJobs(owner=owner, active=True, limit=500))
        recent = await context.call(ListJobs(owner=owner, limit=RECENT_JOBS))
        jobs = {job.id: job for job in (*active.jobs, *recent.jobs)}
    except StudioError:
        # The engine is not there yet: the page hears of its jobs by another hello once it is.
        jobs = {}
    status = context.hub.status()
    listed = ",".join(job.model_dump_json(by_alias=True) for job in jobs.values())
    return f'{{"kind":"hello","status":{status.model_dump_json()},"jobs":[{listed}]}}'
