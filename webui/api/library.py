"""/api/v1/models, samplers, files, styles, tokens: what can be chosen."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from engine.protocol.commands import (
    CountTokens,
    FileList,
    ListFiles,
    ListModels,
    ListSamplers,
    ListStyles,
    ModelList,
    SamplerList,
    SaveStyle,
    Style,
    StyleList,
    TokenCount,
)
from engine.protocol.frozen import Frozen
from engine.protocol.library import FileKind
from webui.api.failures import read_model
from webui.api.openapi import takes
from webui.context import ask, owner_of, reply, web
from webui.gate import is_local

router = APIRouter(prefix="/api/v1", tags=["library"])


class TokenRequest(Frozen):
    """A prompt whose tokens are to be counted."""

    prompt: str
    model: str | None = None


@router.get("/models", responses={200: {"model": ModelList}})
async def list_models(request: Request, refresh: bool = False) -> Response:
    """Base models. `folders` (where model files go) is told on this machine only."""
    models = await web(request).call(ListModels(owner=owner_of(request), refresh=refresh))
    if not is_local(request.scope):
        models = models.model_copy(update={"folders": ()})
    return reply(request, models)


@router.get("/samplers", responses={200: {"model": SamplerList}})
async def list_samplers(request: Request) -> Response:
    """Samplers, with the schedules that exist for each and advice."""
    return await ask(request, ListSamplers(owner=owner_of(request)))


@router.get("/files", responses={200: {"model": FileList}})
async def list_files(request: Request, kind: FileKind) -> Response:
    """All files of one kind, such as `vae` or `embedding`."""
    return await ask(request, ListFiles(owner=owner_of(request), kind=kind))


@router.get("/styles", responses={200: {"model": StyleList}})
async def list_styles(request: Request) -> Response:
    """The styles of styles.csv."""
    return await ask(request, ListStyles(owner=owner_of(request)))


@router.post("/styles", responses={200: {"model": StyleList}}, openapi_extra=takes("Style"))
async def save_style(request: Request) -> Response:
    """Add a style, or replace the one of the same name."""
    style = await read_model(request, Style)
    return await ask(request, SaveStyle(owner=owner_of(request), style=style))


@router.delete("/styles", responses={200: {"model": StyleList}})
async def delete_style(request: Request, name: Annotated[str, Query(max_length=500)]) -> Response:
    """Take a style out of styles.csv."""
    command = SaveStyle(owner=owner_of(request), style=Style(name=name), delete=True)
    return await ask(request, command)


@router.post("/tokens", responses={200: {"model": TokenCount}}, openapi_extra=takes("TokenRequest"))
async def count_tokens(request: Request) -> Response:
    """How many tokens a prompt has, and in how many chunks of 75."""
    asked = await read_model(request, TokenRequest)
    return await ask(request, CountTokens(owner=owner_of(request), prompt=asked.prompt, model=asked.model))
