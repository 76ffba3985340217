"""Speaks ASGI to an app, so that a test can send exactly the headers it means."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass
class Answer:
    """What came back. `status` 0 means a WebSocket was closed before it was accepted."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    accepted: bool = False

    def header(self, name: str) -> str | None:
        return next((v.decode() for n, v in self.headers if n.decode().lower() == name), None)

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json()["error"]["code"])


async def ask(
    app: Any,
    path: str = "/",
    *,
    method: str = "GET",
    headers: dict[str, str] | list[tuple[str, str]] | None = None,
    body: bytes | list[bytes] = b"",
    client: str = "127.0.0.1",
    server: str = "127.0.0.1",
    kind: str = "http",
) -> Answer:
    """One request; `host: localhost:7860` unless the headers say otherwise."""
    pairs = list(headers.items()) if isinstance(headers, dict) else list(headers or [])
    if not any(name.lower() == "host" for name, _ in pairs):
        pairs.insert(0, ("host", "localhost:7860"))
    plain, _, query = path.partition("?")
    scope: dict[str, Any] = {
        "type": kind,
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http" if kind == "http" else "ws",
        "path": plain,
        "raw_path": plain.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in pairs if v is not None],
        "client": (client, 40000),
        "server": (server, 7860),
        "subprotocols": [],
    }
    chunks = [body] if isinstance(body, bytes) else list(body)
    if kind == "websocket":
        incoming: list[dict[str, Any]] = [{"type": "websocket.connect"}]
    else:
        incoming = [
            {"type": "http.request", "body": chunk, "more_body": place < len(chunks) - 1}
            for place, chunk in enumerate(chunks)
        ]
    answer = Answer(0, [], b"")

    async def receive() -> dict[str, Any]:
        return incoming.pop(0) if incoming else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answer.status, answer.headers = message["status"], list(message.get("headers", []))
        elif message["type"] == "http.response.body":
            answer.body += message.get("body", b"")
        elif message["type"] == "websocket.accept":
            answer.accepted = True

    await app(scope, receive, send)
    return answer
