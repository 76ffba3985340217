"""The engine's routes: calls, events, heartbeat. Loopback only, and never without the token."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator

from pydantic import ValidationError
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from engine.errors import EngineLostError, InternalError, SpecError, StudioError
from engine.protocol.commands import COMMANDS
from engine.server.runtime import Runtime

PING_SECONDS = 2


def create_app(runtime: Runtime, token: str) -> Starlette:
    """The engine's web application."""

    async def call(request: Request) -> Response:
        command_type = COMMANDS.get(request.path_params["name"])
        if command_type is None:
            raise SpecError("bad_request", f"There is no command {request.path_params['name']}.", "")
        try:
            command = command_type.model_validate_json(await request.body())
        except ValidationError as error:
            raise SpecError("bad_request", _first_problem(error), "") from error
        reply = await runtime.dispatch.call(command)
        return Response(reply.model_dump_json(by_alias=True), media_type="application/json")

    async def events(request: Request) -> Response:
        after = request.headers.get("last-event-id") or request.query_params.get("after")
        start = int(after) if after is not None and after.isdigit() else None

        async def stream() -> AsyncIterator[ServerSentEvent]:
            async for event in runtime.events.listen(start):
                yield ServerSentEvent(id=str(event.seq), data=event.model_dump_json(by_alias=True))

        return EventSourceResponse(stream(), ping=PING_SECONDS)

    async def heartbeat(request: Request) -> Response:
        return JSONResponse({"worker_beat_age": runtime.pulse.age(), "state": runtime.state.state})

    return Starlette(
        routes=[
            Route("/call/{name}", call, methods=["POST"]),
            Route("/events", events),
            Route("/heartbeat", heartbeat),
        ],
        middleware=[Middleware(TokenGate, token=token)],
        exception_handlers={StudioError: _studio_error, Exception: _unexpected},
    )


class TokenGate:
    """Refuses every request without the bearer token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "lifespan":
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not secrets.compare_digest(given, self._expected):
                refusal = EngineLostError("engine_token_wrong", "The engine refused the token.", "Restart the studio.")
                await JSONResponse(refusal.to_wire(), status_code=401)(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _studio_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, StudioError)
    return JSONResponse(error.to_wire(), status_code=error.status)


async def _unexpected(request: Request, error: Exception) -> Response:
    fault = InternalError("internal", f"The engine met a fault of its own ({type(error).__name__}).", "See the log.")
    return JSONResponse(fault.to_wire(), status_code=500)


def _first_problem(error: ValidationError) -> str:
    first = json.loads(error.json(include_url=False, include_context=False))[0]
    return f"{'.'.join(str(part) for part in first['loc']) or 'The body'}: {first['msg']}."
