"""The login of a studio that others on the network can reach: one password, a signed session cookie.

Nothing is stored per session: the cookie carries its own end and is signed with a key that depends on the password, so
that another password ends all sessions. Standard library only, like the gate that it belongs to.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import html
import os
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from engine.errors import AccessError
from webui.failure_limit import FailureLimit, locked_out

COOKIE = "easel_session"
SESSION_SECONDS = 30 * 24 * 3600
_FORM_LIMIT = 8192

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Login:
    """The login page, and who is in.

    Args:
        password: not empty.
        secret: 32 bytes that outlive a restart, so that sessions do; see `load_secret`.
        page: the HTML of the login page, with `{{message}}` and `{{next}}` in it.
        limit: counts failures.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        password: str,
        secret: bytes,
        page: str,
        limit: FailureLimit | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._digest = _digest(password)
        self._key = hmac.digest(secret, b"easel session" + self._digest, "sha256")
        self._page = page
        self._limit = limit or FailureLimit()
        self._clock = clock

    def knows(self, headers: dict[str, str], address: str) -> bool:
        """Whether the request carries a valid session, or the password as Basic or Bearer authorization."""
        if self._valid_cookie(headers.get("cookie", "")):
            return True
        given = _password_in(headers.get("authorization", ""))
        return given is not None and self.check(given, address)

    def refusal(self, headers: dict[str, str], address: str) -> tuple[AccessError, int]:
        """Why a program is not let in, and how many seconds it has to wait (0: it may try at once)."""
        if _password_in(headers.get("authorization", "")) is None:
            hint = "Open /login in a browser, or send the password as Basic authorization."
            return AccessError("login_required", "This studio asks for a password.", hint), 0
        wait = self._limit.wait(address)
        if wait:
            return locked_out(wait), wait
        return AccessError("login_required", "That is not the password of this studio.", "Send the right one."), 0

    def check(self, given: str, address: str) -> bool:
        """Compare a password in constant time; a blocked address is refused whatever it sends."""
        if self._limit.wait(address):
            return False
        if hmac.compare_digest(_digest(given), self._digest):
            return True
        self._limit.add(address)
        return False

    def new_cookie(self, secure: bool = False) -> str:
        """The value of a Set-Cookie header for a fresh session."""
        ends = str(int(self._clock()) + SESSION_SECONDS)
        body = f"{ends}.{secrets.token_urlsafe(12)}"
        value = f"{body}.{self._sign(body)}"
        flags = f"Path=/; Max-Age={SESSION_SECONDS}; HttpOnly; SameSite=Strict" + ("; Secure" if secure else "")
        return f"{COOKIE}={value}; {flags}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI for `/login`: GET shows the form, POST takes it."""
        if scope["method"] == "POST":
            await self._take_form(scope, receive, send)
        elif scope["method"] in ("GET", "HEAD"):
            query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
            await self._show(send, 200, "", _safe_target(query.get("next", ["/"])[0]))
        else:
            await self._show(send, 405, "This page only takes the form.", "/")

    async def _take_form(self, scope: Scope, receive: Receive, send: Send) -> None:
        fields = parse_qs((await _read(receive)).decode("utf-8", "replace"), max_num_fields=8)
        target = _safe_target(fields.get("next", ["/"])[0])
        address = str((scope.get("client") or ("", 0))[0])
        wait = self._limit.wait(address)
        if wait:
            await self._show(send, 429, str(locked_out(wait)), target, wait)
            return
        if not self.check(fields.get("password", [""])[0], address):
            await self._show(send, 401, "That is not the password.", target)
            return
        cookie = self.new_cookie(secure=scope.get("scheme") == "https")
        headers = [(b"location", target.encode("latin-1", "replace")), (b"set-cookie", cookie.encode())]
        await send({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def _show(self, send: Send, status: int, message: str, target: str, wait: int = 0) -> None:
        page = self._page.replace("{{message}}", html.escape(message)).replace("{{next}}", html.escape(target))
        body = page.encode()
        headers = [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
        ]
        if wait:
            headers.append((b"retry-after", str(wait).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _valid_cookie(self, header: str) -> bool:
        try:
            morsel = SimpleCookie(header).get(COOKIE)
        except CookieError:
            return False
        if morsel is None:
            return False
        body, _, signature = morsel.value.rpartition(".")
        if not hmac.compare_digest(signature.encode("latin-1", "replace"), self._sign(body).encode()):
            return False
        return int(body.split(".")[0]) > self._clock()

    def _sign(self, body: str) -> str:
        return hmac.new(self._key, body.encode("utf-8", "replace"), "sha256").hexdigest()


def new_password() -> str:
    """A password that can be typed: 16 characters out of an unambiguous alphabet, about 79 bits."""
    alphabet = "abcdefghjkmnpqrstuvwxyz23456789"
    letters = "".join(secrets.choice(alphabet) for _ in range(16))
    return "-".join(letters[start : start + 4] for start in range(0, 16, 4))


def load_secret(path: Path) -> bytes:
    """The key of this data folder's sessions; made at the first call, readable by its owner only."""
    try:
        found = path.read_bytes()
        if len(found) == 32:
            return found
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = secrets.token_bytes(32)
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(fresh)
    os.replace(temporary, path)
    return fresh


def _digest(password: str) -> bytes:
    return hashlib.sha256(password.encode("utf-8", "replace")).digest()


def _password_in(authorization: str) -> str | None:
    scheme, _, value = authorization.strip().partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(value.strip(), validate=True).decode("utf-8").partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return None


def _safe_target(target: str) -> str:
    """A path of this studio; anything that could lead elsewhere becomes the front page."""
    plain = target.isascii() and target.isprintable() and "\\" not in target and len(target) < 500
    return target if plain and target.startswith("/") and not target.startswith("//") else "/"


async def _read(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body") or len(body) > _FORM_LIMIT:
            return body[:_FORM_LIMIT]
