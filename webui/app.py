"""The real app: REST routes, live data, and the Gradio page mounted behind them.

Importing this module imports FastAPI but not Gradio; `mount_page` does that, in the thread that builds the page.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from engine.protocol.adapters import NamedStack
from engine.protocol.commands import Style
from engine.protocol.merge import FileMetadata
from engine.protocol.seed import GenerationRequest
from engine.protocol.specs import GenerationSpec
from webui.api import (
    adapters,
    assets,
    comparisons,
    controls,
    events,
    history,
    jobs,
    library,
    machine,
    memory,
    merge,
    openapi,
    pictures,
    seed,
)
from webui.api.failures import add_failures
from webui.api.static_files import OwnFiles, gradio_plotly
from webui.context import WebContext
from webui.thumbs import Thumbs
from webui.warming import STATIC_DIR

VERSION = "0.1.0"
_BODIES = (
    GenerationSpec,
    GenerationRequest,
    NamedStack,
    Style,
    adapters.StackRequest,
    adapters.SuggestRequest,
    controls.HintBody,
    library.TokenRequest,
    memory.ForecastRequest,
    memory.LevelRequest,
    memory.MeasureRequest,
    memory.PinRequest,
    memory.PreloadRequest,
    memory.ReleaseRequest,
    merge.MergeRequest,
    merge.MergePreviewRequest,
    comparisons.AdapterComparison,
    comparisons.MergeComparison,
    FileMetadata,
    history.Enlarge,
    history.ImageIds,
    history.Mark,
)
# Each browser tab would hold one connection for ever, and browsers allow six for a host.
_HEARTBEAT = "/gradio_api/heartbeat/"
_GRADIO_SESSIONS = 500
# Seconds between Gradio's looks at its empty queue and at progress to tell, as it has them on Windows. Its 1 and 10 ms
# elsewhere cost a twentieth of a core for ever, which the engine computes with.
_GRADIO_LOOK, _GRADIO_PROGRESS = 0.05, 0.1
# First parts of the addresses that Gradio's page asks for; "" is the page itself.
_PAGE_PATHS = frozenset(
    {"", "assets", "config", "favicon.ico", "gradio_api", "manifest.json", "pwa_icon", "static", "svelte", "theme.css"}
)
_UPLOAD_LIMIT = "26mb"


def create_app(context: WebContext) -> FastAPI:
    """The app without the page."""
    app = FastAPI(
        title="Easel",
        version=VERSION,
        description="A local Stable Diffusion studio. Errors are {error: {code, message, hint}}; see docs/errors.md.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        # A second spelling of an address would be a second route to guard.
        redirect_slashes=False,
    )
    app.state.web = context
    app.state.thumbs = Thumbs(context.settings.state_dir / "thumbs")
    add_failures(app)
    for module in (
        jobs,
        events,
        adapters,
        controls,
        library,
        history,
        assets,
        pictures,
        machine,
        memory,
        merge,
        comparisons,
        seed,
        openapi,
    ):
        app.include_router(module.router)
    app.router.routes.append(gradio_plotly())
    app.router.routes.append(OwnFiles(STATIC_DIR))
    documents: dict[str, Any] = {}

    def document() -> dict[str, Any]:
        if not documents:
            documents.update(openapi.describe(app, _BODIES))
        return documents

    app.openapi = document  # type: ignore[method-assign]
    app.add_middleware(_Counting, count=context.answers)
    app.add_middleware(_ShortHeartbeat)
    return app


def prepare_environment(state_dir: Path) -> None:
    """Gradio reads these when it is imported: no telemetry, uploads among Easel's own files."""
    os.environ.update(
        GRADIO_ANALYTICS_ENABLED="False",
        HF_HUB_DISABLE_TELEMETRY="1",
        DO_NOT_TRACK="1",
        GRADIO_TEMP_DIR=str(state_dir / "uploads"),
        GRADIO_MCP_SERVER="False",
        GRADIO_SSR_MODE="False",
    )


def import_gradio() -> None:
    """The slow part of the start, apart so that the warming page can name it."""
    import gradio

    assert gradio.__version__


def mount_page(app: FastAPI, context: WebContext, *, safe_mode: bool = False) -> None:
    """Import Gradio, build the page, and mount it behind the routes. Takes seconds: call it in a thread."""
    import gradio as gr

    from webui.api.extensions import routes_of
    from webui.host import TabContext
    from webui.studio import build_studio, mount_options, scan_extensions

    scan = scan_extensions(context.settings, safe_mode=safe_mode)
    tabs = TabContext(client=context.client, settings=context.settings)
    blocks = build_studio(tabs, scan)
    app.router.routes.extend(routes_of(tabs, (route for found in scan.loaded for route in found.host.routes)))
    # Without heartbeats Gradio does not notice that a tab is closed: its oldest sessions go when there are too many.
    blocks.state_session_capacity = _GRADIO_SESSIONS
    blocks._queue.sleep_when_free, blocks._queue.progress_update_sleep_when_free = _GRADIO_LOOK, _GRADIO_PROGRESS
    options = {"max_file_size": _UPLOAD_LIMIT, **mount_options(context.settings)}
    gr.mount_gradio_app(app, blocks, path="/", **options)
    # Gradio would take every address that is not ours, and answer 404 and 405 in its own shape.
    app.router.routes[-1] = PageMount(app.router.routes[-1])


class PageMount(BaseRoute):
    """Gradio's mount, for the addresses that its page uses and no others."""

    def __init__(self, mount: BaseRoute) -> None:
        self._mount = mount

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """See Starlette's `BaseRoute`."""
        first = scope["path"].lstrip("/").partition("/")[0]
        if scope["type"] != "http" or first not in _PAGE_PATHS:
            return Match.NONE, {}
        return self._mount.matches(scope)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on."""
        await self._mount.handle(scope, receive, send)


class _Counting:
    """Counts answers by method and status for /metrics."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], count: Any) -> None:
        self._app = app
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "DELETE", "PATCH") else "other"

        async def counted(message: Any) -> None:
            if message["type"] == "http.response.start":
                self._count[method, message["status"]] += 1
            await send(message)

        await self._app(scope, receive, counted)


class _ShortHeartbeat:
    """Answers Gradio's heartbeat with "no content": its page then holds no connection, and does not ask again."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and scope["path"].startswith(_HEARTBEAT):
            await Response(status_code=204)(scope, receive, send)
            return
        await self._app(scope, receive, send)
