"""/api/v1/controlnets and /api/v1/hints: what ControlNet units are made of."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from engine.protocol.commands import ListControls, PreviewHint
from engine.protocol.controls import ControlCatalogue, HintView
from engine.protocol.frozen import Frozen
from engine.protocol.specs import ResizeMode
from webui.api.failures import read_model
from webui.api.openapi import takes
from webui.context import ask, owner_of

router = APIRouter(prefix="/api/v1", tags=["controls"])


class HintBody(Frozen):
    """A picture (`asset:<sha256>`) and what to make of it. `width` and `height` are those of the picture to be made:
    a `resolution` of null fits the hint to them."""

    image: str
    preprocessor: str = "none"
    parameters: dict[str, float] = Field(default_factory=dict)
    resolution: int | None = None
    width: int | None = None
    height: int | None = None
    resize: ResizeMode = "crop"


@router.get("/controlnets", responses={200: {"model": ControlCatalogue}})
async def list_controlnets(request: Request, model: Annotated[str | None, Query(max_length=300)] = None) -> Response:
    """ControlNets with their types and advised weights, and the preprocessors. With `model`, what fits it."""
    return await ask(request, ListControls(owner=owner_of(request), model=model))


@router.post("/hints", responses={200: {"model": HintView}}, openapi_extra=takes("HintBody"))
async def make_hint(request: Request) -> Response:
    """The hint that a preprocessor makes of a picture, as an asset; the same request again finds it."""
    asked = await read_model(request, HintBody)
    return await ask(request, PreviewHint(owner=owner_of(request), **asked.model_dump()))
