"""/api/v1/adapters, stacks, completions: what can be stacked, what it would do, and what fits a prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import FileResponse, Response

from engine.errors import NotFoundError
from engine.protocol.adapters import (
    AdapterDetails,
    AdapterPage,
    CompletionList,
    NamedStack,
    StackList,
    StackReport,
    SuggestionList,
)
from engine.protocol.commands import (
    CheckStack,
    CompletePrompt,
    GetAdapter,
    ListAdapters,
    ListStacks,
    LocatePreview,
    SaveStack,
    SuggestAdapters,
)
from engine.protocol.frozen import Frozen
from engine.protocol.specs import AdapterRef
from webui.api.failures import read_model
from webui.api.openapi import takes
from webui.context import ask, owner_of, web

router = APIRouter(prefix="/api/v1", tags=["adapters"])
# The page asks with the file's time of change in the address, so an old answer is never shown for a new picture.
_AN_HOUR = {"Cache-Control": "private, max-age=3600"}


class StackRequest(Frozen):
    """A stack to be checked against a model; None is the default one. `conflicts` takes longer: it reads weights. So
    does `impact`, how strongly each changes the model."""

    model: str | None = None
    adapters: tuple[AdapterRef, ...]
    conflicts: bool = False
    impact: bool = False


class SuggestRequest(Frozen):
    """A prompt as typed. `forget` clears what was learnt of past use first."""

    prompt: str = ""
    model: str | None = None
    limit: int = 8
    forget: bool = False


@router.get("/adapters", responses={200: {"model": AdapterPage}})
async def list_adapters(
    request: Request,
    query: Annotated[str, Query(max_length=2000)] = "",
    family: Annotated[str | None, Query(max_length=100)] = None,
    folder: Annotated[str | None, Query(max_length=1000)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 60,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
    refresh: bool = False,
) -> Response:
    """LoRA and LyCORIS files. Every word of `query` must occur in name, title, trigger words or training tags."""
    command = ListAdapters(
        owner=owner_of(request),
        query=query,
        family=family,
        folder=folder,
        limit=limit,
        cursor=cursor,
        refresh=refresh,
    )
    return await ask(request, command)


@router.post("/adapters/report", responses={200: {"model": StackReport}}, openapi_extra=takes("StackRequest"))
async def report(request: Request) -> Response:
    """What of each adapter fits the model, and where they disturb each other; nothing is drawn."""
    asked = await read_model(request, StackRequest)
    command = CheckStack(
        owner=owner_of(request),
        model=asked.model,
        adapters=asked.adapters,
        conflicts=asked.conflicts,
        impact=asked.impact,
    )
    return await ask(request, command)


@router.post("/adapters/suggest", responses={200: {"model": SuggestionList}}, openapi_extra=takes("SuggestRequest"))
async def suggest(request: Request) -> Response:
    """Adapters that fit the prompt, each with its reason. Nothing is applied."""
    asked = await read_model(request, SuggestRequest)
    command = SuggestAdapters(
        owner=owner_of(request),
        prompt=asked.prompt,
        model=asked.model,
        limit=min(max(asked.limit, 1), 50),
        forget=asked.forget,
    )
    return await ask(request, command)


@router.get("/adapters/{adapter_id:path}/preview", response_class=FileResponse)
async def preview(request: Request, adapter_id: str, w: Annotated[int, Query(ge=16, le=4096)] = 384) -> Response:
    """The picture of an adapter as WebP, at most `w` pixels wide (rounded up to one of a few sizes, up to 1024)."""
    found = await web(request).call(LocatePreview(owner=owner_of(request), adapter_id=adapter_id))
    path = Path(found.path)
    thumbs = request.app.state.thumbs
    try:
        # Never the file itself: whatever lies there under a picture's name, only pixels leave.
        small = await thumbs.get(path, f"{path}\0{path.stat().st_mtime_ns}", w)
    except (NotFoundError, FileNotFoundError) as error:
        raise NotFoundError(
            "preview_unknown", f"The preview of “{adapter_id[:100]}” cannot be read.", "Replace the picture."
        ) from error
    return FileResponse(small, media_type="image/webp", headers=_AN_HOUR)


@router.get("/adapters/{adapter_id:path}", responses={200: {"model": AdapterDetails}})
async def get_adapter(request: Request, adapter_id: str) -> Response:
    """One adapter with its metadata, by id, file name, title or hash."""
    return await ask(request, GetAdapter(owner=owner_of(request), adapter_id=adapter_id))


@router.get("/completions", responses={200: {"model": CompletionList}})
async def completions(
    request: Request,
    prefix: Annotated[str, Query(max_length=500)],
    limit: Annotated[int, Query(ge=1, le=50)] = 12,
) -> Response:
    """What an unfinished word of a prompt may become: adapters, trigger words, embeddings, one's own words."""
    return await ask(request, CompletePrompt(owner=owner_of(request), prefix=prefix, limit=limit))


@router.get("/stacks", responses={200: {"model": StackList}})
async def list_stacks(request: Request) -> Response:
    """My named stacks."""
    return await ask(request, ListStacks(owner=owner_of(request)))


@router.put("/stacks", responses={200: {"model": StackList}}, openapi_extra=takes("NamedStack"))
async def save_stack(request: Request) -> Response:
    """Keep a stack under its name, or replace the one of that name."""
    stack = await read_model(request, NamedStack)
    return await ask(request, SaveStack(owner=owner_of(request), stack=stack))


@router.delete("/stacks", responses={200: {"model": StackList}})
async def delete_stack(request: Request, name: Annotated[str, Query(max_length=500)]) -> Response:
    """Remove a named stack."""
    command = SaveStack(owner=owner_of(request), stack=NamedStack(name=name), delete=True)
    return await ask(request, command)
