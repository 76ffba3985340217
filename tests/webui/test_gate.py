"""The gate: who may speak to the studio at all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.webui.asgi import Answer, ask
from webui.gate import BODY_LIMITS, Gate, is_local
from webui.login import Login


class Echo:
    """Reads the whole body, answers its length, and sets the CORS headers that Gradio would."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            return
        size = 0
        while True:
            message = await receive()
            size += len(message.get("body", b""))
            if not message.get("more_body"):
                break
        headers = [(b"access-control-allow-origin", b"*"), (b"Access-Control-Allow-Credentials", b"true")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": str(size).encode()})


class Careless(Echo):
    """Turns every failure into a 500, as Gradio does with a body that breaks off."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        except Exception:  # noqa: BLE001 - this is what it stands for
            await send({"type": "http.response.start", "status": 500, "headers": []})
            await send({"type": "http.response.body", "body": b"Internal Server Error"})


def go(app: Any, path: str = "/", **options: Any) -> Answer:
    return asyncio.run(ask(app, path, **options))


@pytest.mark.parametrize(
    "host", ["localhost:7860", "127.0.0.1:7860", "LOCALHOST", "[::1]:7860", "127.9.9.9", "a.localhost"]
)
def test_loopback_names_are_known(host: str) -> None:
    assert go(Gate(Echo()), headers={"host": host}).status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:7860", "localhost.evil.example", "127.0.0.1.nip.io", "127.0.0.1@evil.example", "",
     "192.168.1.5", "localhost:port", "localhost/x", "localhost, evil.example", "0.0.0.0", "[::1", "localhost\\x",
     "a;b.localhost", "localhost:7860:1", "a b.localhost"],
)  # fmt: skip
def test_other_names_are_refused(host: str) -> None:
    answer = go(Gate(Echo()), headers={"host": host})
    assert (answer.status, answer.code) == (403, "host_unknown")


def test_two_hosts_are_refused() -> None:
    headers = [("host", "localhost"), ("host", "evil.example")]
    assert go(Gate(Echo()), headers=headers).code == "host_unknown"


def test_a_request_without_a_host_is_refused() -> None:
    assert go(Gate(Echo()), headers={"host": None}).code == "host_unknown"  # type: ignore[dict-item]


def test_the_address_that_the_connection_came_in_on_is_known() -> None:
    gate = Gate(Echo())
    assert go(gate, headers={"host": "192.168.1.5:7860"}, server="192.168.1.5").status == 200
    assert go(gate, headers={"host": "192.168.1.6:7860"}, server="192.168.1.5").status == 403


def test_names_from_the_settings_are_known() -> None:
    gate = Gate(Echo(), ["Studio.LAN"])
    assert go(gate, headers={"host": "studio.lan:7860"}).status == 200
    assert go(gate, headers={"host": "studio.lan.:7860"}).status == 200
    assert go(gate, headers={"host": "other.lan"}).status == 403


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WEIRD"])
@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://localhost:3000", "http://127.0.0.1:7860", "http://localhost:7860/x",
     "https://localhost:7860.evil.example", "file://", "http://user@localhost:7860", "garbage", "http://[::1"],
)  # fmt: skip
def test_a_foreign_origin_is_refused_on_every_method(method: str, origin: str) -> None:
    answer = go(Gate(Echo()), method=method, headers={"host": "localhost:7860", "origin": origin})
    assert (answer.status, answer.code) == (403, "origin_foreign")


@pytest.mark.parametrize(
    ("host", "origin"),
    [("localhost:7860", "http://localhost:7860"), ("localhost", "http://localhost"), ("localhost", "https://localhost"),
     ("localhost:443", "https://localhost"), ("LOCALHOST:7860", "http://localhost:7860"),
     ("[::1]:7860", "http://[::1]:7860")],
)  # fmt: skip
def test_the_own_origin_is_welcome(host: str, origin: str) -> None:
    assert go(Gate(Echo()), method="POST", headers={"host": host, "origin": origin}).status == 200


def test_websockets_are_guarded_too() -> None:
    own, foreign = {"origin": "http://localhost:7860"}, {"origin": "http://evil.example"}
    assert go(Gate(Echo()), "/ws", kind="websocket", headers=own).accepted
    assert not go(Gate(Echo()), "/ws", kind="websocket", headers=foreign).accepted
    assert not go(Gate(Echo()), "/ws", kind="websocket", headers={"host": "evil.example"}).accepted
    assert not go(Gate(Echo(), login=login()), "/ws", kind="websocket", headers=own).accepted


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_other_sites_may_link_but_not_embed(site: str) -> None:
    def status(mode: str, dest: str) -> int:
        sent = {"sec-fetch-site": site, "sec-fetch-mode": mode, "sec-fetch-dest": dest}
        return go(Gate(Echo()), "/outputs/a.png", headers=sent).status

    assert status("navigate", "document") == 200
    assert status("navigate", "iframe") == 403
    assert status("no-cors", "image") == 403
    assert status("no-cors", "script") == 403


def test_no_cors_header_ever_leaves() -> None:
    for headers in ({}, {"origin": "http://localhost:7860"}, {"origin": "http://evil.example"}):
        answer = go(Gate(Echo()), headers=headers)
        assert not [name for name, _ in answer.headers if name.lower().startswith(b"access-control-")]


def test_security_headers_are_on_every_answer() -> None:
    for headers in ({}, {"host": "evil.example"}):
        answer = go(Gate(Echo()), headers=headers)
        assert answer.header("x-frame-options") == "DENY"
        assert answer.header("x-content-type-options") == "nosniff"
        policy = answer.header("content-security-policy") or ""
        assert "frame-ancestors 'none'" in policy
        assert "http:" not in policy
        assert "evil" not in policy
    assert "sandbox" in (go(Gate(Echo()), "/outputs/x.png").header("content-security-policy") or "")


@pytest.mark.parametrize("app", [Echo(), Careless()])
def test_bodies_over_the_limit_are_refused(app: Any) -> None:
    limit = BODY_LIMITS[-1][1]
    announced = go(Gate(app), "/x", method="POST", headers={"content-length": str(limit + 1)})
    assert (announced.status, announced.code) == (413, "upload_too_large")
    streamed = go(Gate(app), "/x", method="POST", body=[b"x" * limit, b"y"])
    assert (streamed.status, streamed.code) == (413, "upload_too_large")
    assert go(Gate(app), "/x", method="POST", body=[b"x" * limit]).body == str(limit).encode()
    lying = go(Gate(app), "/x", method="POST", headers={"content-length": "9" * 400})
    assert lying.status == 413


def test_uploads_may_be_larger_than_other_bodies() -> None:
    size = 3 * 1024 * 1024
    assert go(Gate(Echo()), "/api/v1/jobs", method="POST", body=b"x" * size).status == 413
    assert go(Gate(Echo()), "/api/v1/assets", method="POST", body=b"x" * size).status == 200


def test_gradios_proxy_is_closed() -> None:
    assert go(Gate(Echo()), "/gradio_api/proxy=http://127.0.0.1:1/").code == "not_allowed"
    assert go(Gate(Echo()), "/monitoring").code == "not_allowed"


@given(st.text(max_size=40), st.text(max_size=40))
def test_nothing_that_is_sent_breaks_the_gate(host: str, origin: str) -> None:
    def plain(text: str) -> str:
        return text.encode("latin-1", "replace").decode("latin-1")

    answer = go(Gate(Echo()), headers={"host": plain(host), "origin": plain(origin)})
    assert answer.status == 403


def test_a_proxy_on_this_machine_does_not_make_its_clients_local() -> None:
    def local(client: str, *headers: bytes) -> bool:
        return is_local({"client": (client, 1), "headers": [(name, b"x") for name in headers]})

    assert local("127.0.0.1")
    assert local("::1")
    assert not local("127.0.0.1", b"x-forwarded-for")
    assert not local("192.168.1.9")
    assert not local("")


def login() -> Login:
    return Login("secret", b"k" * 32, "<p>{{message}}</p>{{next}}")
