"""/api/v1/memory: how memory is, whether a picture will fit, and what a person decides about it."""

from __future__ import annotations

import psutil
from fastapi import APIRouter, Request
from starlette.responses import Response

from engine.errors import StudioError
from engine.protocol.frozen import Frozen
from engine.protocol.memory import ForecastView, LevelName, MemoryView, PolicyName
from engine.protocol.memory_commands import (
    Forecast,
    GetMemory,
    MeasureLevels,
    PinModel,
    PreloadModel,
    ReleaseMemory,
    SetLevel,
)
from engine.protocol.specs import GenerationSpec
from webui.api.failures import read_model
from webui.api.machine import process_rss
from webui.api.openapi import takes
from webui.context import ask, owner_of, reply, web

router = APIRouter(prefix="/api/v1/memory", tags=["memory"])


class MachineMemoryView(MemoryView):
    """The engine's view, and the web process's own: `web_rss` and `engine_rss` are resident bytes of the two processes.
    While the engine does not answer, only the machine's numbers are filled in."""

    web_rss: int = 0
    engine_rss: int = 0
    engine_answers: bool = True


class ForecastRequest(Frozen):
    """A spec as it would be submitted. `level` asks for that level; without it the present setting counts."""

    spec: GenerationSpec
    level: LevelName | None = None


class ReleaseRequest(Frozen):
    """`key` of one part; without it everything that is neither in use nor pinned."""

    key: str | None = None


class PinRequest(Frozen):
    """Either the `key` of a part or a `model` of the library; `warm` keeps a part rather than others."""

    key: str | None = None
    model: str | None = None
    pinned: bool = True
    warm: bool = False


class PreloadRequest(Frozen):
    """A `model` of the library, by its id or file name."""

    model: str


class MeasureRequest(Frozen):
    """A `model` of the library, by its id or file name; without it the starter. `width` and `height` of the pictures;
    without them the model's own. `cancel` ends the measurement that is under way."""

    model: str | None = None
    width: int | None = None
    height: int | None = None
    cancel: bool = False


class LevelRequest(Frozen):
    """What to change; what is left out stays. `pool_gb` is GB of 1024³ bytes, 0 chooses by itself."""

    level: LevelName | None = None
    policy: PolicyName | None = None
    pool_gb: float | None = None


@router.get("", responses={200: {"model": MachineMemoryView}})
async def memory(request: Request) -> Response:
    """Memory of the machine and of both processes, what is loaded, the levels, the newest samples and events."""
    context = web(request)
    status = context.hub.status()
    try:
        view = await context.call(GetMemory(owner=owner_of(request)))
    except StudioError:
        machine = psutil.virtual_memory()
        fields = {"device": status.device, "ram_total": machine.total, "ram_available": machine.available}
        return reply(request, _with_processes(MemoryView.model_validate(fields), status.pid, answers=False))
    return reply(request, _with_processes(view, status.pid))


@router.post("/forecast", responses={200: {"model": ForecastView}}, openapi_extra=takes("ForecastRequest"))
async def forecast(request: Request) -> Response:
    """Whether a picture will fit and how, before it is made; what would fit where it does not."""
    asked = await read_model(request, ForecastRequest)
    return await ask(request, Forecast(owner=owner_of(request), spec=asked.spec, level=asked.level))


@router.post("/release", responses={200: {"model": MemoryView}}, openapi_extra=takes("ReleaseRequest"))
async def release(request: Request) -> Response:
    """Free everything that is neither in use nor pinned, or one part."""
    asked = await read_model(request, ReleaseRequest)
    return await ask(request, ReleaseMemory(owner=owner_of(request), key=asked.key))


@router.post("/pin", responses={200: {"model": MemoryView}}, openapi_extra=takes("PinRequest"))
async def pin(request: Request) -> Response:
    """Keep a part or a model loaded, or stop doing so."""
    asked = await read_model(request, PinRequest)
    command = PinModel(owner=owner_of(request), key=asked.key, model=asked.model, pinned=asked.pinned, warm=asked.warm)
    return await ask(request, command)


@router.post("/preload", responses={200: {"model": MemoryView}}, openapi_extra=takes("PreloadRequest"))
async def preload(request: Request) -> Response:
    """Load a model before a picture needs it; `ahead` says which are still to come."""
    asked = await read_model(request, PreloadRequest)
    return await ask(request, PreloadModel(owner=owner_of(request), model=asked.model))


@router.post("/measure", responses={200: {"model": MemoryView}}, openapi_extra=takes("MeasureRequest"))
async def measure(request: Request) -> Response:
    """Run a model through the memory levels as one job; `measured` says how far it is, and what was found."""
    asked = await read_model(request, MeasureRequest)
    return await ask(request, MeasureLevels(owner=owner_of(request), **asked.model_dump()))


@router.post("/level", responses={200: {"model": MemoryView}}, openapi_extra=takes("LevelRequest"))
async def level(request: Request) -> Response:
    """Change the memory level, the eviction policy or the pool's size, live."""
    asked = await read_model(request, LevelRequest)
    command = SetLevel(owner=owner_of(request), level=asked.level, policy=asked.policy, pool_gb=asked.pool_gb)
    return await ask(request, command)


def _with_processes(view: MemoryView, pid: int, *, answers: bool = True) -> MachineMemoryView:
    engine = process_rss(pid) if pid else 0
    return MachineMemoryView(**dict(view), web_rss=process_rss(), engine_rss=engine, engine_answers=answers)
