"""POST /generate, GET /models, GET /loras: the seed's routes, with its request and answer fields."""

from __future__ import annotations

from pathlib import PurePosixPath

from fastapi import APIRouter, Request
from starlette.responses import Response

from engine.errors import GenerationError, StudioError, from_wire
from engine.protocol.commands import ListFiles, ListModels, LocateImage, SubmitJob
from engine.protocol.frozen import Frozen
from engine.protocol.jobs import ImageView, JobView
from engine.protocol.notices import Notice
from engine.protocol.seed import GenerationRequest
from webui.api.failures import read_model
from webui.api.openapi import takes
from webui.context import json_text, owner_of, reply, web
from webui.gate import is_local

router = APIRouter(tags=["seed"])


class SeedLoraUse(Frozen):
    """An adapter by its id in the library, with its weight."""

    name: str
    weight: float


class GenerateMetadata(Frozen):
    """What the picture was made with. `loras` are those that were applied; a skipped one is in the notices."""

    model: str
    loras: tuple[SeedLoraUse, ...]
    steps: int
    guidance_scale: float
    seed: int


class GenerateAnswer(Frozen):
    """The seed's answer. `path` is absolute for callers on this machine only."""

    status: str
    filename: str
    path: str
    url: str
    metadata: GenerateMetadata
    notices: tuple[Notice, ...] = ()


class SeedModel(Frozen):
    id: str
    name: str
    supported_loras: tuple[str, ...]


class SeedModels(Frozen):
    models: tuple[SeedModel, ...]


class SeedLora(Frozen):
    id: str
    name: str
    default_weight: float
    trigger_words: tuple[str, ...] | None


class SeedLoras(Frozen):
    loras: tuple[SeedLora, ...]


@router.post("/generate", responses={200: {"model": GenerateAnswer}}, openapi_extra=takes("GenerationRequest"))
async def generate(request: Request) -> Response:
    """Make one picture and wait for it. The body is JSON whatever its content type says.

    A web page cannot use that: browsers send an Origin with every POST, and then the type has to be right.
    """
    asked = await read_model(request, GenerationRequest, any_type="origin" not in request.headers)
    context, owner = web(request), owner_of(request)
    job = await context.call(SubmitJob(owner=owner, spec=asked.to_spec()))
    finished = await context.hub.wait_finished(job.id, owner)
    if finished.status != "done" or not finished.images:
        raise _why(finished)
    return await _answer(request, asked, finished, finished.images[0])


@router.get("/models", responses={200: {"model": SeedModels}})
async def models(request: Request) -> Response:
    """Base models that can be used."""
    listed = await web(request).call(ListModels(owner=owner_of(request)))
    usable = [m for m in listed.models if not m.problem]
    value = SeedModels(
        models=tuple(SeedModel(id=m.id, name=m.title, supported_loras=m.supported_loras) for m in usable)
    )
    return reply(request, value)


@router.get("/loras", responses={200: {"model": SeedLoras}})
async def loras(request: Request) -> Response:
    """Adapters: the catalogue's and those that lie in the folders."""
    listed = await web(request).call(ListFiles(owner=owner_of(request), kind="adapter"))
    rows = tuple(
        SeedLora(id=f.id, name=f.title, default_weight=f.default_weight, trigger_words=f.trigger_words or None)
        for f in listed.files
        if not f.problem
    )
    return reply(request, SeedLoras(loras=rows))


async def _answer(request: Request, asked: GenerationRequest, job: JobView, image: ImageView) -> Response:
    spec = image.spec
    path = f"outputs/{image.name}"
    if is_local(request.scope):
        path = (await web(request).call(LocateImage(owner=owner_of(request), image_name=image.name))).path
    answer = GenerateAnswer(
        status="success",
        filename=PurePosixPath(image.name).name,
        path=path,
        url=image.url,
        metadata=GenerateMetadata(
            model=spec.model or "",
            loras=tuple(SeedLoraUse(name=row.name, weight=row.unet_weight) for row in spec.adapters if row.enabled),
            steps=spec.steps or asked.steps,
            guidance_scale=spec.guidance or asked.guidance_scale,
            seed=image.seed,
        ),
        notices=job.notices,
    )
    return json_text(request, answer.model_dump_json(by_alias=True))


def _why(job: JobView) -> StudioError:
    """Why there is no picture."""
    if job.error is not None:
        return from_wire({"error": job.error.model_dump()})
    why = f"The job was {job.status} before there was a picture."
    return GenerationError("generation_failed", why, "Send it again.")
