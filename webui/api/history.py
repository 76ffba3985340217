"""/api/v1/history: the pictures that were made."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from engine.protocol.commands import (
    DeleteImages,
    Done,
    EnlargeImage,
    GetImage,
    ImagePage,
    MarkImage,
    RebuildHistory,
    RestoreImages,
    SearchHistory,
)
from engine.protocol.frozen import Frozen
from engine.protocol.jobs import ImageView, JobView, Rebuilt
from webui.api.failures import read_model
from webui.api.openapi import takes
from webui.context import ask, owner_of, reply, web

router = APIRouter(prefix="/api/v1/history", tags=["history"])


class ImageIds(Frozen):
    """Which pictures."""

    image_ids: tuple[str, ...]


class Enlarge(Frozen):
    """How many times as large (2 or 4), and with which upscaler; None is the first of the library."""

    factor: int = 2
    upscaler: str | None = None


class Mark(Frozen):
    """What is to change of a picture; None leaves it."""

    favourite: bool | None = None
    tags: tuple[str, ...] | None = None


@router.get("", responses={200: {"model": ImagePage}})
async def search_history(
    request: Request,
    query: Annotated[str, Query(max_length=2000)] = "",
    model: str | None = None,
    favourite: bool | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 60,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
) -> Response:
    """My pictures, newest first. Every word of `query` must occur in the prompt, the model or the settings.

    `next_cursor` of one page is `cursor` of the next.
    """
    command = SearchHistory(
        owner=owner_of(request), query=query, model=model, favourite=favourite, limit=limit, cursor=cursor
    )
    return await ask(request, command)


@router.post(
    "/{image_id}/enlarge", status_code=202, responses={202: {"model": JobView}}, openapi_extra=takes("Enlarge")
)
async def enlarge_image(request: Request, image_id: str) -> Response:
    """Queue a picture to be made 2 or 4 times as large; the result is another picture."""
    asked = await read_model(request, Enlarge)
    command = EnlargeImage(owner=owner_of(request), image_id=image_id, factor=asked.factor, upscaler=asked.upscaler)
    job = await web(request).call(command)
    return reply(request, job, 202)


@router.post("/delete", responses={200: {"model": Done}}, openapi_extra=takes("ImageIds"))
async def delete_images(request: Request) -> Response:
    """Move pictures to the bin, where they stay for 30 days."""
    asked = await read_model(request, ImageIds)
    return await ask(request, DeleteImages(owner=owner_of(request), image_ids=asked.image_ids))


@router.post("/restore", responses={200: {"model": Done}}, openapi_extra=takes("ImageIds"))
async def restore_images(request: Request) -> Response:
    """Take pictures out of the bin."""
    asked = await read_model(request, ImageIds)
    return await ask(request, RestoreImages(owner=owner_of(request), image_ids=asked.image_ids))


@router.post("/rebuild", responses={200: {"model": Rebuilt}})
async def rebuild_history(request: Request) -> Response:
    """Read all pictures in the outputs folder: `count` are new, `returned` came back, `removed` lost their file."""
    return await ask(request, RebuildHistory(owner=owner_of(request)))


@router.get("/{image_id}", responses={200: {"model": ImageView}})
async def get_image(request: Request, image_id: str) -> Response:
    """One picture with its settings."""
    return await ask(request, GetImage(owner=owner_of(request), image_id=image_id))


@router.delete("/{image_id}", responses={200: {"model": Done}})
async def delete_image(request: Request, image_id: str) -> Response:
    """Move one picture to the bin."""
    return await ask(request, DeleteImages(owner=owner_of(request), image_ids=(image_id,)))


@router.patch("/{image_id}", responses={200: {"model": ImageView}}, openapi_extra=takes("Mark"))
async def mark_image(request: Request, image_id: str) -> Response:
    """Change the favourite mark or the tags."""
    mark = await read_model(request, Mark)
    command = MarkImage(owner=owner_of(request), image_id=image_id, favourite=mark.favourite, tags=mark.tags)
    return await ask(request, command)
