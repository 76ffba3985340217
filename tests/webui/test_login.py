"""The login of a studio that others on the network can reach."""

from __future__ import annotations

import asyncio
import base64
import os
from pathlib import Path
from typing import Any

import pytest

from tests.webui.asgi import Answer, ask
from tests.webui.test_gate import Echo
from webui import login as module
from webui.failure_limit import FAILURES_IN_ALL, FAILURES_PER_ADDRESS, WINDOW_SECONDS, FailureLimit
from webui.gate import Gate
from webui.login import SESSION_SECONDS, Login
from webui.warming import STATIC_DIR

PAGE = (STATIC_DIR / "login.html").read_text(encoding="utf-8")
PASSWORD = "pässword & more"


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def make(password: str = PASSWORD, clock: Clock | None = None, key: bytes = b"k" * 32) -> Gate:
    time = clock or Clock()
    return Gate(Echo(), login=Login(password, key, PAGE, FailureLimit(time), time))


def go(gate: Gate, path: str = "/", **options: Any) -> Answer:
    return asyncio.run(ask(gate, path, **options))


def send_password(gate: Gate, password: str, target: str = "/", client: str = "10.0.0.7") -> Answer:
    from urllib.parse import urlencode

    body = urlencode({"password": password, "next": target}).encode()
    return go(gate, "/login", method="POST", body=body, client=client)


def cookie_of(answer: Answer) -> str:
    return (answer.header("set-cookie") or "").partition(";")[0]


def test_without_a_session_people_get_the_login_and_programs_an_error() -> None:
    gate = make()
    page = go(gate, "/some/place", headers={"accept": "text/html"})
    assert (page.status, page.header("location")) == (303, "/login?next=/some/place")
    program = go(gate, "/api/v1/jobs", headers={"accept": "*/*"})
    assert (program.status, program.code) == (401, "login_required")
    assert go(gate, "/api/v1/jobs", method="POST", headers={"accept": "text/html"}).status == 401
    assert go(gate, "/healthz").status == 200


def test_the_right_password_opens_a_session() -> None:
    gate = make()
    answer = send_password(gate, PASSWORD, "/docs")
    assert (answer.status, answer.header("location")) == (303, "/docs")
    flags = answer.header("set-cookie") or ""
    assert "HttpOnly" in flags
    assert "SameSite=Strict" in flags
    assert go(gate, "/api/v1/jobs", headers={"cookie": cookie_of(answer)}).status == 200


@pytest.mark.parametrize("wrong", ["", "password", PASSWORD + " ", PASSWORD.upper()])
def test_a_wrong_password_is_told(wrong: str) -> None:
    answer = send_password(make(), wrong)
    assert answer.status == 401
    assert b"That is not the password" in answer.body
    assert answer.header("set-cookie") is None


def test_a_session_ends_and_cannot_be_made_up() -> None:
    clock = Clock()
    gate = make(clock=clock)
    good = cookie_of(send_password(gate, PASSWORD))
    name, _, value = good.partition("=")
    ends, nonce, signature = value.split(".")
    later, other = f"{int(ends) + 1}.{nonce}.{signature}", f"{ends}.{nonce}.{'0' * 64}"
    for forged in (later, other, "", ".", "a.b", f"{ends}.{nonce}.é"):
        sent = f"{name}={forged}".encode().decode("latin-1")
        assert go(gate, "/x", headers={"cookie": sent}).status == 401
    clock.now += SESSION_SECONDS + 1
    assert go(gate, "/x", headers={"cookie": good}).status == 401


def test_sessions_outlive_a_restart_but_not_another_password() -> None:
    cookie = cookie_of(send_password(make(), PASSWORD))
    assert go(make(), "/x", headers={"cookie": cookie}).status == 200
    assert go(make("another"), "/x", headers={"cookie": cookie}).status == 401
    assert go(make(key=b"j" * 32), "/x", headers={"cookie": cookie}).status == 401


def test_programs_may_send_the_password_itself() -> None:
    basic = base64.b64encode(f"anybody:{PASSWORD}".encode()).decode()
    assert go(make(), "/x", headers={"authorization": f"Basic {basic}"}).status == 200
    assert go(make("plain"), "/x", headers={"authorization": "Bearer plain"}).status == 200
    assert go(make(), "/x", headers={"authorization": "Basic ###"}).status == 401
    assert go(make(), "/x", headers={"authorization": "Digest x"}).status == 401


def test_guessing_is_slowed_down_for_that_address_only() -> None:
    clock = Clock()
    gate = make(clock=clock)
    for _ in range(FAILURES_PER_ADDRESS):
        assert send_password(gate, "guess").status == 401
    assert send_password(gate, PASSWORD).status == 429
    assert send_password(gate, PASSWORD, client="10.0.0.8").status == 303
    clock.now += WINDOW_SECONDS + 1
    assert send_password(gate, PASSWORD).status == 303


def test_a_program_that_is_locked_out_is_told_so_and_when_to_come_back() -> None:
    clock = Clock()
    gate = make("plain", clock=clock)
    for _ in range(FAILURES_PER_ADDRESS - 1):
        answer = go(gate, "/x", headers={"authorization": "Bearer guess"})
        assert (answer.status, answer.code) == (401, "login_required")
        assert b"not the password" in answer.body
        clock.now += 10
    assert go(gate, "/x", headers={"authorization": "Bearer guess"}).header("retry-after") == "230"
    clock.now += 10
    right = {"authorization": "Bearer plain"}
    answer = go(gate, "/x", headers=right)
    assert (answer.status, answer.code, answer.header("retry-after")) == (429, "too_many_passwords", "220")
    assert b"Try again in 4 minutes." in answer.body
    clock.now += 200
    answer = go(gate, "/x", headers=right)
    assert b"Try again in 20 seconds." in answer.body
    # Who sends no password at all is asked for one, as ever.
    assert go(gate, "/x").code == "login_required"
    clock.now += 20
    assert go(gate, "/x", headers=right).status == 200


def test_the_login_page_says_how_long_to_wait() -> None:
    gate = make()
    for _ in range(FAILURES_PER_ADDRESS):
        send_password(gate, "guess")
    answer = send_password(gate, PASSWORD)
    assert (answer.status, answer.header("retry-after")) == (429, "300")
    assert b"Try again in 5 minutes." in answer.body


def test_guessing_from_many_addresses_is_slowed_down_too() -> None:
    limit = FailureLimit(Clock())
    for number in range(FAILURES_IN_ALL):
        assert limit.wait(f"10.0.{number // 250}.{number % 250}") == 0
        limit.add(f"10.0.{number // 250}.{number % 250}")
    assert limit.wait("10.9.9.9") == WINDOW_SECONDS


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil.example", "evil", "/a\r\nb: c", "/é"]
)
def test_the_login_leads_nowhere_else(target: str) -> None:
    assert send_password(make(), PASSWORD, target).header("location") == "/"


def test_what_is_shown_is_escaped() -> None:
    answer = go(make(), '/login?next=/"><script>alert(1)</script>')
    assert b"<script>" not in answer.body
    assert b'value="/&quot;&gt;' in answer.body


def test_a_foreign_page_cannot_log_anybody_in() -> None:
    answer = go(make(), "/login", method="POST", headers={"origin": "http://evil.example"}, body=b"password=x")
    assert answer.code == "origin_foreign"


def test_a_long_form_does_not_fill_the_memory() -> None:
    assert go(make(), "/login", method="POST", body=[b"x" * 5000] * 3).status == 401
    assert go(make(), "/login", method="DELETE").status == 405


def test_the_secret_is_kept_and_private(tmp_path: Path) -> None:
    path = tmp_path / "state" / "session.key"
    first = module.load_secret(path)
    assert len(first) == 32
    assert module.load_secret(path) == first
    if os.name == "posix":
        assert path.stat().st_mode & 0o077 == 0


def test_made_passwords_differ_and_can_be_typed() -> None:
    made = {module.new_password() for _ in range(50)}
    assert len(made) == 50
    assert all(len(password) == 19 and password.isascii() for password in made)
