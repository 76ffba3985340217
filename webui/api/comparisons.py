"""/api/v1/comparisons: adapters beside each other, and a merge beside its inputs, as one job with one grid."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from engine.protocol.comparisons import (
    CancelComparison,
    CompareAdapters,
    CompareMerge,
    ComparisonList,
    ComparisonView,
    GetComparison,
    ListComparisons,
)
from engine.protocol.frozen import Frozen
from engine.protocol.specs import GenerationSpec
from webui.api.failures import read_model
from webui.api.openapi import takes
from webui.context import ask, owner_of, reply, web

router = APIRouter(prefix="/api/v1", tags=["comparisons"])


class AdapterComparison(Frozen):
    """Up to 12 adapters, 8 prompts and 6 weights, at most 150 pictures. `spec` gives model, seed, size and steps; its
    prompt and adapters do not count. `side_effects`: one more line for each adapter, without its trigger words."""

    adapters: tuple[str, ...]
    prompts: tuple[str, ...]
    weights: tuple[float, ...] = (1.0,)
    spec: GenerationSpec
    side_effects: bool = True


class MergeComparison(Frozen):
    """A finished merge beside the stack of its inputs, and (`alone`) beside each of them."""

    prompts: tuple[str, ...]
    spec: GenerationSpec
    alone: bool = True


@router.post(
    "/comparisons",
    status_code=202,
    responses={202: {"model": ComparisonView}},
    openapi_extra=takes("AdapterComparison"),
)
async def compare_adapters(request: Request) -> Response:
    """Paint every adapter at every weight with every prompt, then one grid and its numbers."""
    asked = await read_model(request, AdapterComparison)
    command = CompareAdapters(
        owner=owner_of(request),
        adapters=asked.adapters,
        prompts=asked.prompts,
        weights=asked.weights,
        spec=asked.spec,
        side_effects=asked.side_effects,
    )
    return _begun(request, await web(request).call(command))


@router.post(
    "/merges/{merge_id}/comparison",
    status_code=202,
    responses={202: {"model": ComparisonView}},
    openapi_extra=takes("MergeComparison"),
)
async def compare_merge(request: Request, merge_id: str) -> Response:
    """Paint a finished merge beside the stack that it stands for, and beside each input."""
    asked = await read_model(request, MergeComparison)
    command = CompareMerge(
        owner=owner_of(request), merge_id=merge_id, prompts=asked.prompts, spec=asked.spec, alone=asked.alone
    )
    return _begun(request, await web(request).call(command))


@router.get("/comparisons", responses={200: {"model": ComparisonList}})
async def list_comparisons(request: Request, limit: Annotated[int, Query(ge=1, le=200)] = 30) -> Response:
    """My comparisons, newest first."""
    return await ask(request, ListComparisons(owner=owner_of(request), limit=limit))


@router.get("/comparisons/{comparison_id}", responses={200: {"model": ComparisonView}})
async def get_comparison(request: Request, comparison_id: str) -> Response:
    """One comparison: its progress; when it is done the grid (`image`) and the numbers (`report`)."""
    return await ask(request, GetComparison(owner=owner_of(request), comparison_id=comparison_id))


@router.delete("/comparisons/{comparison_id}", responses={200: {"model": ComparisonView}})
async def cancel_comparison(request: Request, comparison_id: str) -> Response:
    """Stop it; pictures that are painted stay in the history."""
    return await ask(request, CancelComparison(owner=owner_of(request), comparison_id=comparison_id))


def _begun(request: Request, view: ComparisonView) -> Response:
    answer = reply(request, view, 202)
    answer.headers["Location"] = f"/api/v1/comparisons/{view.id}"
    return answer
