"""/api/v1/assets and /api/v1/recipe: pictures that come in."""

from __future__ import annotations

import base64
import re

from fastapi import APIRouter, Request
from starlette.datastructures import UploadFile
from starlette.responses import FileResponse, Response

from engine.errors import NotFoundError, SpecError
from engine.protocol.commands import AssetRef, LocateAsset, PutAsset, ReadRecipe, Recipe
from engine.protocol.frozen import Frozen
from webui.api.failures import read_model
from webui.api.openapi import takes_picture
from webui.context import ask, owner_of, web

router = APIRouter(prefix="/api/v1", tags=["pictures"])
_REF = re.compile(r"(?:asset:)?([0-9a-f]{64})")


class Infotext(Frozen):
    """Settings as text, as A1111 writes them under a picture."""

    text: str


@router.post("/assets", status_code=201, responses={201: {"model": AssetRef}}, openapi_extra=takes_picture())
async def put_asset(request: Request) -> Response:
    """Keep a picture for use in specs: the bytes as the body, or one file of a form. At most 25 MB."""
    data = await _picture(request)
    command = PutAsset(owner=owner_of(request), data=base64.b64encode(data).decode())
    return await ask(request, command, 201)


@router.get("/assets/{ref}", response_class=FileResponse)
async def get_asset(request: Request, ref: str) -> Response:
    """A kept picture, by its SHA-256."""
    match = _REF.fullmatch(ref)
    if match is None:
        raise NotFoundError("asset_unknown", "There is no such picture.", "An asset is named by its SHA-256.")
    found = await web(request).call(LocateAsset(owner=owner_of(request), ref=f"asset:{match[1]}"))
    headers = {"Cache-Control": "private, max-age=31536000, immutable"}
    return FileResponse(found.path, media_type=found.media_type, headers=headers)


@router.post("/recipe", responses={200: {"model": Recipe}}, openapi_extra=takes_picture())
async def read_recipe(request: Request) -> Response:
    """The settings inside a picture (body or form), or inside infotext (`text/plain`, or JSON `{"text": …}`)."""
    kind = _kind(request)
    owner = owner_of(request)
    if kind == "application/json":
        asked = await read_model(request, Infotext)
        command = ReadRecipe(owner=owner, text=asked.text)
    elif kind == "text/plain":
        command = ReadRecipe(owner=owner, text=(await request.body()).decode("utf-8", "replace"))
    else:
        command = ReadRecipe(owner=owner, data=base64.b64encode(await _picture(request)).decode())
    return await ask(request, command)


async def _picture(request: Request) -> bytes:
    """The picture's bytes: the first file of a form, or the whole body.

    Raises:
        SpecError: `bad_request` for an empty body or a form without a file.
    """
    if _kind(request) != "multipart/form-data":
        data = await request.body()
    else:
        async with request.form(max_files=1, max_fields=10) as form:
            files = [value for value in form.values() if isinstance(value, UploadFile)]
            data = await files[0].read() if files else b""
    if not data:
        raise SpecError("bad_request", "No picture was sent.", "Send its bytes as the body, or one file of a form.")
    return data


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
