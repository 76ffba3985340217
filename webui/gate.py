"""The gate: one ASGI middleware before every route, Gradio's and WebSockets too.

It refuses unknown Host names (DNS rebinding), foreign origins on every method, cross-site embedding, bodies that are
too large, and, when a password is set, whoever is not logged in. It takes CORS headers off every answer and puts
security headers on. Standard library only: it stands before the warming page, when nothing else is imported yet.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import quote, urlsplit

from engine.errors import AccessError, SpecError, StudioError
from webui.login import Login

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MEGABYTE = 1024 * 1024
# First match wins. A picture of 25 MB is a third larger as base64, which is how the page hands it to Python.
BODY_LIMITS: tuple[tuple[str, int], ...] = (
    ("/api/v1/assets", 26 * MEGABYTE),
    ("/api/v1/recipe", 26 * MEGABYTE),
    ("/gradio_api/", 36 * MEGABYTE),
    ("/login", 16 * 1024),
    ("", 2 * MEGABYTE),
)
# Open to everybody who knows the address: monitoring, and what the login page itself needs.
OPEN_PATHS = frozenset({"/healthz", "/login", "/favicon.ico", "/static/favicon.svg"})
# Gradio's proxy fetches pages of other hosts, its monitoring page tells about other people's work.
CLOSED_PREFIXES = ("/gradio_api/proxy=", "/proxy=", "/monitoring", "/gradio_api/monitoring")

# The name goes into a security header, so it is nothing but letters, digits and dots.
_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?", re.ASCII)
_NOTHING = b"default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'"
_FIXED_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
)


class Gate:
    """Stands in front of `app`.

    Args:
        app: what is guarded.
        hosts: names under which the studio may be opened besides loopback and the address that a request came in on.
        login: None where no password is asked (loopback only).
    """

    def __init__(self, app: App, hosts: Iterable[str] = (), login: Login | None = None) -> None:
        self._app = app
        self._hosts: set[str] = set()
        self._login = login
        self.add_hosts(hosts)

    def add_hosts(self, hosts: Iterable[str]) -> None:
        """Further names under which the studio may be opened."""
        self._hosts |= {host.strip().strip("[]").rstrip(".").lower() for host in hosts if host.strip()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = _headers(scope)
        try:
            self._check(scope, headers)
        except StudioError as refusal:
            await _refuse(scope, _Answer(send, _NOTHING), refusal, refusal.status)
            return
        guarded = _Answer(send, _policy(scope["path"], headers["host"]))
        if scope["type"] == "http" and scope["path"] == "/login" and self._login is not None:
            await self._login(scope, _Body(scope, headers, receive), guarded)
            return
        if self._login is not None and not self._may_enter(self._login, scope, headers):
            await self._ask_to_log_in(self._login, scope, headers, guarded)
            return
        await self._pass_on(scope, headers, receive, guarded)

    def _check(self, scope: Scope, headers: dict[str, str]) -> None:
        host = headers.get("host", "")
        if headers.get(":twice") == "host" or not self._knows(scope, host):
            raise AccessError(
                "host_unknown",
                f"This studio is not known as “{host[:100]}”.",
                "Open it under its own address, or add the name to [ui] hosts in config.toml.",
            )
        origin = headers.get("origin")
        if origin is not None and not _same_origin(origin, host):
            raise AccessError(
                "origin_foreign",
                f"A page of {origin[:100]} tried to use this studio; only its own pages may.",
                "Open the studio itself in the browser.",
            )
        if _embedded_elsewhere(headers):
            raise AccessError(
                "origin_foreign", "A page of another site tried to use this studio.", "Open the studio itself."
            )
        if scope["path"].startswith(CLOSED_PREFIXES):
            raise AccessError("not_allowed", "This address is closed.", "")

    def _knows(self, scope: Scope, host: str) -> bool:
        name = _host_name(host)
        if name is None:
            return False
        if name in self._hosts or name == "localhost" or name.endswith(".localhost"):
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        # The address that this very connection came in on: an IP literal cannot be rebound by anybody's DNS.
        server = scope.get("server") or ("", 0)
        return address.is_loopback or name == str(server[0]).lower()

    def _may_enter(self, login: Login, scope: Scope, headers: dict[str, str]) -> bool:
        if scope["type"] == "http" and scope["path"] in OPEN_PATHS:
            return True
        return login.knows(headers, client_address(scope))

    async def _ask_to_log_in(self, login: Login, scope: Scope, headers: dict[str, str], send: Send) -> None:
        wants_page = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        if wants_page and "text/html" in headers.get("accept", ""):
            target = f"/login?next={quote(scope['path'], safe='/')}".encode()
            await send({"type": "http.response.start", "status": 303, "headers": [(b"location", target)]})
            await send({"type": "http.response.body", "body": b""})
            return
        error, wait = login.refusal(headers, client_address(scope))
        await _refuse(scope, send, error, 429 if wait else 401, wait)

    async def _pass_on(self, scope: Scope, headers: dict[str, str], receive: Receive, answer: _Answer) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, answer)
            return
        body = _Body(scope, headers, receive)
        answer.body = body
        if body.announced > body.limit:
            await _refuse(scope, answer, body.error(), 413)
            return
        try:
            await self._app(scope, body, answer)
        except BodyTooLargeError:
            if not answer.started:
                await _refuse(scope, answer, body.error(), 413)


class BodyTooLargeError(Exception):
    """The request's body is over its limit; passes through the app up to the gate."""


class _Body:
    """`receive` that counts. Once over the limit it raises, and `exceeded` stays set."""

    def __init__(self, scope: Scope, headers: dict[str, str], receive: Receive) -> None:
        self._receive = receive
        length = headers.get("content-length", "")
        self.announced = int(length[:20]) if length.isdigit() else 0
        self._seen = 0
        self.exceeded = False
        path = scope["path"]
        self.limit = next(limit for prefix, limit in BODY_LIMITS if path.startswith(prefix))

    async def __call__(self) -> Message:
        message = await self._receive()
        self._seen += len(message.get("body", b""))
        if self._seen > self.limit:
            self.exceeded = True
            raise BodyTooLargeError
        return message

    def error(self) -> SpecError:
        """What to tell."""
        at_most = f"{self.limit / MEGABYTE:.3g} MB"
        return SpecError("upload_too_large", f"That is too large: at most {at_most} can be sent here.", "Send less.")


class _Answer:
    """`send` that removes CORS headers and adds ours where the app set none of that name.

    An app that turns the body's exception into an answer of its own (Gradio says 500) is overruled with 413.
    """

    def __init__(self, send: Send, policy: bytes) -> None:
        self._send = send
        self._policy = policy
        self.body: _Body | None = None
        self.started = False

    async def __call__(self, message: Message) -> None:
        if self.body is not None and self.body.exceeded:
            body, self.body = self.body, None
            if not self.started:
                await _refuse({"type": "http"}, self, body.error(), 413)
                self._send = _nowhere
            return
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            self.started = True
            kept = [(n, v) for n, v in message.get("headers", ()) if not n.lower().startswith(b"access-control-")]
            present = {name.lower() for name, _ in kept}
            wanted = (*_FIXED_HEADERS, (b"content-security-policy", self._policy))
            kept += [(name, value) for name, value in wanted if name not in present]
            message = {**message, "headers": kept}
        await self._send(message)


async def _nowhere(message: Message) -> None:
    """The answer is complete; what the app still sends is dropped."""


def client_address(scope: Scope) -> str:
    """The address of whoever is on the other end of the connection; "" where unknown."""
    return str((scope.get("client") or ("", 0))[0])


def is_local(scope: Scope) -> bool:
    """Whether the request comes from this machine itself, and not through a proxy on it."""
    names = {name.lower() for name, _ in scope["headers"]}
    if names & {b"x-forwarded-for", b"forwarded", b"x-real-ip", b"via"}:
        return False
    try:
        return ipaddress.ip_address(client_address(scope).split("%")[0]).is_loopback
    except ValueError:
        return False


def _headers(scope: Scope) -> dict[str, str]:
    """Header names in lower case; the first of equal names counts, and `:twice` names a Host that came twice."""
    found: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name = raw.decode("latin-1").lower()
        if name in found and name in ("host", "origin"):
            found[":twice"] = "host"
        found.setdefault(name, value.decode("latin-1"))
    return found


def _host_name(host: str) -> str | None:
    """The name without the port, in lower case; None where it is no proper Host."""
    match = _HOST.fullmatch(host)
    return match[1].strip("[]").rstrip(".").lower() or None if match else None


def _same_origin(origin: str, host: str) -> bool:
    try:
        ours, theirs = urlsplit(f"//{host}"), urlsplit(origin)
        default = {"http": 80, "https": 443}.get(theirs.scheme)
        if default is None or theirs.path or theirs.query or theirs.username is not None:
            return False
        return theirs.hostname == ours.hostname and (theirs.port or default) == (ours.port or default)
    except ValueError:
        return False


def _embedded_elsewhere(headers: dict[str, str]) -> bool:
    """Browsers say where a request comes from even when they send no Origin, as for `<img>` and `<iframe>`.

    Another port of this machine is "same-site": a foreign program all the same. Following a link is allowed.
    """
    if headers.get("sec-fetch-site") not in ("cross-site", "same-site"):
        return False
    return not (headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest", "document") == "document")


def _policy(path: str, host: str) -> bytes:
    """Content-Security-Policy for a known host.

    Gradio 6 evaluates code for `js=` handlers and writes inline styles and scripts. Pictures and REST answers get the
    strictest one: a picture opened by itself runs nothing.
    """
    if path.startswith(("/outputs/", "/thumbs/", "/api/")):
        return _NOTHING
    return (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; worker-src 'self' blob:; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
        f"font-src 'self' data:; connect-src 'self' blob: data: ws://{host} wss://{host}; object-src 'none'; "
        "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    ).encode("latin-1")


async def _refuse(scope: Scope, send: Send, error: StudioError, status: int, wait: int = 0) -> None:
    """An error as the answer; a WebSocket is closed before it is accepted, which the browser sees as 403.

    Args:
        wait: seconds after which it may be tried again; 0 says nothing about that.
    """
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 4403, "reason": error.code})
        return
    body = json.dumps(error.to_wire(), ensure_ascii=False).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if wait:
        headers.append((b"retry-after", str(wait).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
