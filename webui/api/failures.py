"""One shape for every failure: `{"error": {"code", "message", "hint"}}`, also for 404, 405 and validation."""

from __future__ import annotations

import difflib
import json
import logging
from collections.abc import Sequence
from typing import Any, TypeVar

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response

from engine.errors import InternalError, NotFoundError, SpecError, StudioError
from webui.context import json_text

log = logging.getLogger("easel.web")
Model = TypeVar("Model", bound=BaseModel)

# pydantic's words for what people meet most, in ours.
_WORDS = {
    "int_parsing": "it must be a whole number",
    "int_type": "it must be a whole number",
    "int_from_float": "it must be a whole number",
    "int_parsing_size": "that number is far too large",
    "float_parsing": "it must be a number",
    "float_type": "it must be a number",
    "finite_number": "it must be a finite number",
    "string_type": "it must be text",
    "bool_type": "it must be true or false",
    "bool_parsing": "it must be true or false",
    "tuple_type": "it must be a list",
    "list_type": "it must be a list",
    "dict_type": "it must be an object",
    "model_type": "it must be an object",
    "model_attributes_type": "it must be an object",
    "missing": "it is required",
}


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


def explain(error: ValidationError, model: type[BaseModel]) -> SpecError:
    """The first problem as a sentence; a misspelt field before the one that is missing because of it."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    first = next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])
    where = list(first["loc"])
    if first["type"] == "json_invalid":
        return SpecError("bad_request", "The body is not valid JSON.", f"{first['msg'][:200]}.")
    name = ".".join(str(part)[:80] for part in where) or "the body"
    if first["type"] == "extra_forbidden":
        known = _fields_at(model, where[:-1])
        near = difflib.get_close_matches(str(where[-1])[:80], known, n=2, cutoff=0.5)
        hint = f"Did you mean {' or '.join(f'“{item}”' for item in near)}?" if near else f"Known: {', '.join(known)}."
        return SpecError("bad_request", f"There is no field “{name}”.", hint)
    words = _WORDS.get(first["type"], first["msg"][:200])
    return SpecError("bad_request", f"“{name}” is not usable: {words}.", "See /docs for the fields and their types.")


def _fields_at(model: Any, where: Sequence[object]) -> list[str]:
    """The names of the fields of the object at `where` inside `model`."""
    for part in where:
        if isinstance(part, int):
            continue
        field = next(
            (f for n, f in getattr(model, "model_fields", {}).items() if part in (n, f.alias)),
            None,
        )
        if field is None:
            break
        model = _inner_model(field.annotation) or model
    return [field.alias or name for name, field in getattr(model, "model_fields", {}).items()]


def _inner_model(annotation: Any) -> Any:
    if hasattr(annotation, "model_fields"):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _inner_model(argument)
        if found is not None:
            return found
    return None


async def _studio_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, StudioError)
    return failure(request, error)


async def _bad_parameter(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    name = str(first["loc"][-1])[:80] if first["loc"] else "a parameter"
    words = _WORDS.get(first["type"], str(first["msg"])[:200])
    return failure(request, SpecError("bad_request", f"“{name}” is not usable: {words}.", "See /docs."))


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
    told = InternalError("internal", "Something in Easel itself failed.", "The window where it runs has the details.")
    return failure(request, told)
