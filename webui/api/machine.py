"""/metrics and /api/v1/status: how both processes are."""

from __future__ import annotations

import psutil
from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from engine.errors import StudioError
from engine.protocol.commands import EngineStatus, GetMetrics
from webui.context import WebContext, owner_of, reply, web

router = APIRouter(tags=["machine"])


@router.get("/api/v1/status", responses={200: {"model": EngineStatus}})
async def status(request: Request) -> Response:
    """The engine's state; `last_seq` is the number of the newest event, to attach a stream after it."""
    return reply(request, web(request).hub.status())


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Prometheus text: the engine's metrics and the web process's own."""
    context = web(request)
    try:
        engine_text, up = (await context.call(GetMetrics(owner=owner_of(request)))).text, 1
    except StudioError:
        engine_text, up = "", 0
    text = engine_text.rstrip("\n") + "\n" if engine_text else ""
    return PlainTextResponse(text + web_metrics(context, up), media_type="text/plain; version=0.0.4; charset=utf-8")


def web_metrics(context: WebContext, engine_up: int) -> str:
    """The web process's own metrics, through prometheus_client."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

    answers = CounterMetricFamily("easel_web_answers", "Answers by method and status.", labels=["method", "status"])
    for (method, code), count in sorted(context.answers.items()):
        answers.add_metric([method, str(code)], count)
    families: list[Metric] = [
        GaugeMetricFamily("easel_engine_up", "1 where the engine answers.", engine_up),
        GaugeMetricFamily("easel_web_streams", "Open pages and event streams.", context.hub.session_count),
        CounterMetricFamily("easel_web_events", "Events read from the engine.", context.hub.events_seen),
        GaugeMetricFamily("easel_web_resident_bytes", "Memory of the web process.", process_rss()),
        answers,
    ]

    class _Now:
        def collect(self) -> list[Metric]:
            return families

    registry = CollectorRegistry()
    registry.register(_Now())
    return generate_latest(registry).decode()


def process_rss(pid: int | None = None) -> int:
    """Resident bytes of a process; 0 where it is gone or cannot be read."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
