"""/api/v1/merges: recipes checked, previewed, run and undone; and what an adapter's file says of itself."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from engine.protocol.frozen import Frozen
from engine.protocol.library import FileView
from engine.protocol.merge import AnyRecipe, FileMetadata
from engine.protocol.merge_commands import (
    CancelMerge,
    DeleteMerge,
    EditAdapter,
    GetMerge,
    ListMergeMethods,
    ListMerges,
    MergeList,
    MergeView,
    PreviewMerge,
    SubmitMerge,
)
from engine.protocol.merge_reports import MergePreview, MethodList
from webui.api.failures import read_model
from webui.api.openapi import takes
from webui.context import ask, owner_of, reply, web

router = APIRouter(prefix="/api/v1", tags=["merges"])


class MergeRequest(Frozen):
    """A recipe, and the name of the file to be made (no folder, no suffix). `replace` overwrites a file of that name,
    otherwise it is refused with `merge_name_taken`. `usual_base`: the model to take as the base where neither the
    recipe names one nor the files say what they are for."""

    recipe: AnyRecipe
    file_name: str
    replace: bool = False
    usual_base: str | None = None


class MergePreviewRequest(Frozen):
    """A recipe to be looked at; nothing is written. `modules`: how many modules to look at, 1–2000."""

    recipe: AnyRecipe
    modules: int = Field(default=24, ge=1, le=2000)
    usual_base: str | None = None


@router.post("/merges", status_code=202, responses={202: {"model": MergeView}}, openapi_extra=takes("MergeRequest"))
async def submit_merge(request: Request, request_id: Annotated[str | None, Query(max_length=100)] = None) -> Response:
    """Check a recipe and queue it. Watch it at `GET /api/v1/merges/{id}`, or as a job of kind `merge` in the events.

    `request_id` makes a repeated submit answer the same merge.
    """
    asked = await read_model(request, MergeRequest)
    command = SubmitMerge(
        owner=owner_of(request),
        recipe=asked.recipe,
        file_name=asked.file_name,
        replace=asked.replace,
        usual_base=asked.usual_base,
        request_id=request_id,
    )
    view = await web(request).call(command)
    answer = reply(request, view, 202)
    answer.headers["Location"] = f"/api/v1/merges/{view.id}"
    return answer


@router.post("/merges/preview", responses={200: {"model": MergePreview}}, openapi_extra=takes("MergePreviewRequest"))
async def preview_merge(request: Request) -> Response:
    """What a recipe would make: sizes, errors, spectra, strength by block, how alike the inputs are."""
    asked = await read_model(request, MergePreviewRequest)
    command = PreviewMerge(
        owner=owner_of(request), recipe=asked.recipe, modules=asked.modules, usual_base=asked.usual_base
    )
    return await ask(request, command)


@router.get("/merges/methods", responses={200: {"model": MethodList}})
async def list_methods(request: Request) -> Response:
    """The ways in which adapters can become one, those of extensions included."""
    return await ask(request, ListMergeMethods(owner=owner_of(request)))


@router.get("/merges", responses={200: {"model": MergeList}})
async def list_merges(request: Request, limit: Annotated[int, Query(ge=1, le=500)] = 50) -> Response:
    """My merges, newest first: those that wait or run, and the history."""
    return await ask(request, ListMerges(owner=owner_of(request), limit=limit))


@router.get("/merges/{merge_id}", responses={200: {"model": MergeView}})
async def get_merge(request: Request, merge_id: str) -> Response:
    """One merge: `status` is queued, running, done, failed or canceled; `report` is there when it is done."""
    return await ask(request, GetMerge(owner=owner_of(request), merge_id=merge_id))


@router.delete("/merges/{merge_id}", responses={200: {"model": MergeView}})
async def cancel_merge(request: Request, merge_id: str) -> Response:
    """Stop a merge that waits or runs; nothing of its file is left."""
    return await ask(request, CancelMerge(owner=owner_of(request), merge_id=merge_id))


@router.delete("/merges/{merge_id}/file", responses={200: {"model": MergeView}})
async def delete_file(request: Request, merge_id: str) -> Response:
    """Undo a merge: the file that it made goes to the bin."""
    return await ask(request, DeleteMerge(owner=owner_of(request), merge_id=merge_id))


@router.patch("/adapters/{adapter_id:path}", responses={200: {"model": FileView}}, openapi_extra=takes("FileMetadata"))
async def edit_adapter(request: Request, adapter_id: str) -> Response:
    """Change what an adapter's file says of itself, in place; fields that are left out stay. Its data does not change:
    the AutoV3 hash stays the same."""
    metadata = await read_model(request, FileMetadata)
    return await ask(request, EditAdapter(owner=owner_of(request), adapter_id=adapter_id, metadata=metadata))
