"""/api/v1/ext/<id>/…: the routes of extensions, behind the gate like all others."""

from __future__ import annotations

import json
from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.errors import SpecError
from webui.context import json_text, owner_of
from webui.host import RouteRequest, RouteSpec, TabContext


def routes_of(context: TabContext, specs: Iterable[RouteSpec]) -> list[Route]:
    """Starlette routes for these."""
    return [_route(context, spec) for spec in specs]


def _route(context: TabContext, spec: RouteSpec) -> Route:
    async def answer(request: Request) -> Response:
        value = await spec.handler(
            context,
            RouteRequest(
                owner_of(request), dict(request.path_params), dict(request.query_params), await _body(request)
            ),
        )
        return json_text(request, json.dumps(value, ensure_ascii=False))

    return Route(spec.address, answer, methods=[spec.method], name=f"{spec.extension} {spec.method} {spec.path}")


async def _body(request: Request) -> object:
    """The JSON that was sent; None where nothing was."""
    data = await request.body()
    if not data:
        return None
    try:
        return json.loads(data)
    except ValueError as error:
        raise SpecError("bad_request", "This address takes JSON, and this is none.", "Send a JSON value.") from error
