"""/outputs and /thumbs: the files of pictures that are in the history, and nothing else of that folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import FileResponse, Response

from engine.errors import NotFoundError
from engine.protocol.commands import LocateImage
from webui.context import owner_of, web

router = APIRouter(tags=["pictures"])
# A name is never used twice, so what it stands for never changes.
_FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}


@router.get("/outputs/{name:path}", response_class=FileResponse)
async def picture(request: Request, name: str) -> Response:
    """A picture's file. Ranges are answered."""
    path, media_type = await _locate(request, name)
    return FileResponse(path, media_type=media_type, headers=_FOREVER)


@router.get("/thumbs/{name:path}", response_class=FileResponse)
async def thumbnail(request: Request, name: str, w: Annotated[int, Query(ge=16, le=4096)] = 256) -> Response:
    """The picture as WebP, at most `w` pixels wide (rounded up to one of a few sizes, up to 1024)."""
    path, _ = await _locate(request, name)
    thumbs = request.app.state.thumbs
    return FileResponse(await thumbs.get(path, name, w), media_type="image/webp", headers=_FOREVER)


async def _locate(request: Request, name: str) -> tuple[Path, str]:
    """The file of a name, if it is a row of the caller's history and lies below the outputs folder."""
    context = web(request)
    unknown = NotFoundError("image_unknown", f"There is no picture {name[:120]}.", "It may have been deleted.")
    if not name or "\x00" in name or "\\" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise unknown
    found = await context.call(LocateImage(owner=owner_of(request), image_name=name))
    path = Path(found.path).resolve()
    if not path.is_relative_to(context.settings.outputs_dir.resolve()) or not path.is_file():
        raise unknown
    return path, found.media_type
