"""What every route of the web process is given: the engine, the settings, the live hub. Built once, in the entry."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from starlette.requests import HTTPConnection
from starlette.responses import Response

from engine.client.base import EngineClient
from engine.protocol.commands import LOCAL_OWNER, Command
from engine.protocol.frozen import Frozen
from engine.settings import ROOT, Settings
from webui.gate import is_local
from webui.live import LiveHub
from webui.warming import Health

Reply = TypeVar("Reply", bound=Frozen)


class Discretion:
    """Takes this machine's folders out of texts that go to other machines."""

    def __init__(self, folders: Iterable[Path]) -> None:
        found: set[str] = set()
        for folder in folders:
            text = str(folder).rstrip("/\\")
            if len(text) > 1:
                found |= {text, json.dumps(text, ensure_ascii=False)[1:-1], text.replace(os.sep, "/")}
        self._folders = sorted(found, key=len, reverse=True)

    def clean(self, text: str) -> str:
        """`/home/ada/easel/outputs/x.png` becomes `…/x.png`."""
        for folder in self._folders:
            text = text.replace(folder, "…")
        return text


@dataclass
class WebContext:
    """Passed to routes as `request.app.state.web`."""

    client: EngineClient
    settings: Settings
    hub: LiveHub
    health: Health
    discretion: Discretion
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)

    async def call(self, command: Command[Reply]) -> Reply:
        """Ask the engine."""
        return await self.client.call(command)


def private_folders(settings: Settings) -> list[Path]:
    """What `Discretion` hides: every folder of the settings, the code's own, and the home folder."""
    extra = [Path(path).expanduser() for path in settings.paths.extra]
    return [settings.outputs_dir, settings.models_dir, settings.data_dir, ROOT, Path.home(), *extra]


def web(connection: HTTPConnection) -> WebContext:
    """The context of a request or WebSocket."""
    context: WebContext = connection.app.state.web
    return context


def owner_of(connection: HTTPConnection) -> str:
    """Who asks. Everybody is the one local person until accounts exist."""
    return LOCAL_OWNER


def reply(request: HTTPConnection, value: Frozen, status: int = 200) -> Response:
    """A value of the protocol as JSON; folders are hidden from other machines."""
    return json_text(request, value.model_dump_json(by_alias=True), status)


async def ask(request: HTTPConnection, command: Command[Reply], status: int = 200) -> Response:
    """Carry out a command and answer with its reply."""
    answer = await web(request).call(command)
    return reply(request, answer, status)


def json_text(request: HTTPConnection, text: str, status: int = 200) -> Response:
    """JSON text as the answer."""
    if not is_local(request.scope):
        text = web(request).discretion.clean(text)
    return Response(text, status_code=status, media_type="application/json", headers={"Cache-Control": "no-store"})
