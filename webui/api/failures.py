"""One shape for every failure: `{"error": {"code", "message", "hint"}}`, also for 404, 405 and validation."""

from __future__ import annotations

import json
import logging
import re
from typing import TypeVar

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response

from engine.errors import InternalError, NotFoundError, SpecError, StudioError
from engine.protocol.wrong_values import why
from webui.context import json_text
from webui.validation import explain

log = logging.getLogger("easel.web")
Model = TypeVar("Model", bound=BaseModel)


def add_failures(app: FastAPI) -> None:
    """Install the handlers."""
    app.add_exception_handler(StudioError, _studio_error)
    app.add_exception_handler(RequestValidationError, _bad_parameter)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _unexpected)


def failure(request: HTTPConnection, error: StudioError, status: int | None = None) -> Response:
    """An error as the answer."""
    text = json.dumps(error.to_wire(), ensure_ascii=False).encode("utf-8", "replace").decode()
    answer = json_text(request, text, status or error.status)
    if error.status == 503:
        answer.headers["Retry-After"] = "2"
    return answer


async def read_model(request: Request, model: type[Model], *, any_type: bool = False) -> Model:
    """The JSON body as `model`.

    Raises:
        SpecError: `bad_request`, with the field and the nearest known name.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not any_type and kind and kind != "application/json" and not kind.endswith("+json"):
        hint = "Send Content-Type: application/json."
        raise SpecError("bad_request", f"This address takes JSON, not {kind[:60]}.", hint)
    try:
        return model.model_validate_json(await request.body())
    except ValidationError as error:
        raise explain(error, model) from error


async def _studio_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, StudioError)
    return failure(request, error)


async def _bad_parameter(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    name = str(first["loc"][-1])[:80] if first["loc"] else "a parameter"
    return failure(request, SpecError("bad_request", f"“{name}” is not usable: {why(first)}.", "See /docs."))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path[:200]
    if error.status_code == 404:
        return failure(request, NotFoundError("route_unknown", f"There is nothing at {path}.", "See /docs."))
    if error.status_code == 405:
        told = NotFoundError("route_unknown", f"{path} does not take {request.method[:20]}.", "See /docs.")
        answer = failure(request, told, 405)
        answer.headers.update({"Allow": (error.headers or {}).get("Allow", "")})
        return answer
    return failure(request, SpecError("bad_request", str(error.detail)[:300], "See /docs."), error.status_code)


async def _gone(request: Request, error: Exception) -> Response:
    """The client went away in the middle of its body; nobody reads this answer."""
    return Response(status_code=400)


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("unexpected %s at %s", type(error).__name__, request.url.path, exc_info=error)
    extension = re.match(r"/api/v1/ext/([^/]+)/", request.url.path)
    what = f"The extension “{extension[1][:60]}” failed at this" if extension else "Something in Easel itself failed"
    what += " address." if extension else "."
    told = InternalError("internal", what, "The window where Easel runs has the details.")
    return failure(request, told)
