"""What /docs needs to know about bodies that the routes read by themselves, and the page at /docs."""

from __future__ import annotations

import html
import json
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.responses import HTMLResponse, JSONResponse, Response

router = APIRouter(include_in_schema=False)
_REF = "#/components/schemas/"
_ERROR_SCHEMA: dict[str, Any] = {
    "title": "Error",
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "hint"],
            "properties": {name: {"type": "string"} for name in ("code", "message", "hint")},
        }
    },
}


def takes(model_name: str) -> dict[str, Any]:
    """`openapi_extra` of a route whose JSON body is this model."""
    schema = {"$ref": _REF + model_name}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def takes_picture() -> dict[str, Any]:
    """`openapi_extra` of a route that takes a picture as the body or in a form."""
    raw = {"schema": {"type": "string", "format": "binary"}}
    form = {"schema": {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}}
    content = {"image/png": raw, "image/jpeg": raw, "image/webp": raw, "multipart/form-data": form}
    return {"requestBody": {"required": True, "content": content}}


def describe(app: FastAPI, bodies: tuple[type[BaseModel], ...]) -> dict[str, Any]:
    """The whole OpenAPI document, with the models of bodies among its components."""
    document = get_openapi(title=app.title, version=app.version, routes=app.routes, description=app.description)
    _, extra = models_json_schema([(model, "validation") for model in bodies], ref_template=_REF + "{model}")
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name, schema in extra.get("$defs", {}).items():
        schemas.setdefault(name, schema)
    # FastAPI's own shape of a validation error is never sent.
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    schemas["Error"] = _ERROR_SCHEMA
    problem = {"description": "What is wrong", "content": {"application/json": {"schema": {"$ref": _REF + "Error"}}}}
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = problem
    return document


@router.get("/openapi.json")
async def document(request: Request) -> Response:
    """OpenAPI."""
    return JSONResponse(request.app.openapi())


@router.get("/docs")
async def docs(request: Request) -> Response:
    """The same for people: one page, no script, nothing from other hosts."""
    return HTMLResponse(docs_page(request.app.openapi(), str(request.base_url).rstrip("/")))


def docs_page(document: dict[str, Any], base: str) -> str:
    """The OpenAPI document as HTML."""
    groups: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for verb, operation in operations.items():
            tag = (operation.get("tags") or ["more"])[0]
            groups.setdefault(tag, []).append(_operation(path, verb.upper(), operation, base))
    body = "".join(f"<h2>{html.escape(tag)}</h2>{''.join(items)}" for tag, items in groups.items())
    models = "".join(
        f'<details id="{html.escape(name)}"><summary><code>{html.escape(name)}</code></summary>'
        f"<div>{_json(schema)}</div></details>"
        for name, schema in sorted(document["components"]["schemas"].items())
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Easel: REST</title>'
        '<link rel="stylesheet" href="/static/docs.css"></head><body><h1>Easel: REST</h1>'
        f"<p>{html.escape(document['info'].get('description', ''))}</p>"
        '<p class="soft">For programs: <a href="/openapi.json">openapi.json</a>.</p>'
        f"{body}<h2>Types</h2>{models}</body></html>"
    )


def _operation(path: str, verb: str, operation: dict[str, Any], base: str) -> str:
    text = html.escape(operation.get("description", "")).replace("\n\n", "</p><p>")
    parameters = operation.get("parameters", [])
    rows = "".join(
        f"<p><code>{html.escape(p['name'])}</code> <span class='soft'>in {p['in']}: "
        f"{html.escape(_type(p.get('schema', {})))}</span></p>"
        for p in parameters
    )
    body = operation.get("requestBody", {}).get("content", {})
    takes_line = "".join(f"<p>Body: {_kind(kind, part.get('schema', {}))}</p>" for kind, part in body.items())
    gives = "".join(
        f"<p>Answer {status}: {_kind(kind, part.get('schema', {}))}</p>"
        for status, answer in operation["responses"].items()
        for kind, part in answer.get("content", {}).items()
        if status != "default"
    )
    return (
        f"<details><summary><b class='verb'>{verb}</b><code>{html.escape(path)}</code></summary><div><p>{text}</p>"
        f"{rows}{takes_line}{gives}<pre>{html.escape(_curl(path, verb, body, base))}</pre></div></details>"
    )


def _curl(path: str, verb: str, body: dict[str, Any], base: str) -> str:
    if "application/json" in body:
        return f"curl -X {verb} {base}{path} -H 'Content-Type: application/json' -d '{{…}}'"
    if body:
        return f"curl -X {verb} {base}{path} --data-binary @picture.png -H 'Content-Type: image/png'"
    return f"curl {base}{path}" if verb == "GET" else f"curl -X {verb} {base}{path}"


def _kind(kind: str, schema: dict[str, Any]) -> str:
    name = schema.get("$ref", "").removeprefix(_REF)
    link = f' <a href="#{html.escape(name)}"><code>{html.escape(name)}</code></a>' if name else ""
    return f"<code>{html.escape(kind)}</code>{link}"


def _type(schema: dict[str, Any]) -> str:
    choices = schema.get("enum")
    if choices:
        return ", ".join(map(str, choices))
    kinds = [part.get("type", "") for part in schema.get("anyOf", [schema])]
    return " or ".join(kind for kind in kinds if kind and kind != "null")


def _json(value: Any) -> str:
    text = html.escape(json.dumps(value, indent=2, ensure_ascii=False))
    return f"<pre>{text}</pre>"
