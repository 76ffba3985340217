"""What answers on the port while Gradio is still being imported: a page that says what is going on, and `/healthz`.

Raw ASGI and standard library only, so that it answers within a second of the start. `Entrance` passes everything on to
the real app as soon as there is one.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from engine.errors import EngineLostError
from webui.gate import is_local

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

STATIC_DIR = Path(__file__).resolve().parent / "static"


class Health:
    """The state of both halves as `/healthz` tells it.

    Attributes:
        page_ready, message: whether the page answers with tabs, and what is being done until then.
        engine: what the supervisor knows of the engine, once there is one.
        clean: takes folders of this machine out of sentences for others.
    """

    def __init__(self, engine: Callable[[], dict[str, Any]] | None = None) -> None:
        self.page_ready = False
        self.message = "Reading the settings"
        self.engine = engine
        self.clean: Callable[[str], str] = _nothing

    def body(self, *, local: bool = True) -> dict[str, Any]:
        """`web`, `page` (loading or ready), `page_message`; `engine`, `engine_pid`, and the engine's own words."""
        known = self.engine() if self.engine is not None else {}
        words = str(known.get("message", ""))
        return {
            "web": "ok",
            "page": "ready" if self.page_ready else "loading",
            "page_message": "" if self.page_ready else self.message,
            "engine": known.get("state", "starting"),
            "engine_pid": known.get("pid", 0),
            "engine_message": words if local else self.clean(words),
            "engine_fraction": known.get("fraction"),
        }


class Entrance:
    """The app that the server runs from the first moment on.

    `app` is None while warming. `/healthz` is answered here all the time, whatever state the rest is in.
    """

    def __init__(self, health: Health) -> None:
        self.health = health
        self.app: App | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and scope["path"] == "/healthz":
            body = json.dumps(self.health.body(local=is_local(scope)), ensure_ascii=False).encode()
            await _answer(send, 200, b"application/json", body if scope["method"] != "HEAD" else b"")
        elif self.app is not None:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1013, "reason": "warming"})
        elif scope["type"] == "http":
            await _warm(scope, send)


async def _warm(scope: Scope, send: Send) -> None:
    """The warming page for people, one clear error for programs."""
    accepts = next((value for name, value in scope["headers"] if name.lower() == b"accept"), b"*/*")
    is_front = scope["path"] == "/"
    if scope["method"] in ("GET", "HEAD") and (is_front or b"text/html" in accepts):
        page = (STATIC_DIR / "warming.html").read_bytes()
        await _answer(send, 200, b"text/html; charset=utf-8", page if scope["method"] == "GET" else b"")
        return
    error = EngineLostError("engine_starting", "The studio is still starting.", "Try again in a few seconds.")
    await _answer(send, error.status, b"application/json", json.dumps(error.to_wire()).encode(), retry_after=True)


async def _answer(send: Send, status: int, kind: bytes, body: bytes, retry_after: bool = False) -> None:
    headers = [(b"content-type", kind), (b"cache-control", b"no-store")]
    if retry_after:
        headers.append((b"retry-after", b"2"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _nothing(text: str) -> str:
    """Before the settings are read, the folders are not known: say nothing to others."""
    return ""
