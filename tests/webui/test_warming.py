"""What answers before the page is there."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from typing import Any

from tests.webui.asgi import Answer, ask
from webui.warming import STATIC_DIR, Entrance, Health


def go(app: Any, path: str = "/", **options: Any) -> Answer:
    return asyncio.run(ask(app, path, **options))


def test_people_get_the_warming_page_programs_an_error() -> None:
    entrance = Entrance(Health())
    page = go(entrance)
    assert page.status == 200
    assert b"Easel is starting" in page.body
    assert page.header("cache-control") == "no-store"
    assert go(entrance, "/deep/link", headers={"accept": "text/html,*/*"}).status == 200
    early = go(entrance, "/api/v1/jobs", method="POST")
    assert (early.status, early.code, early.header("retry-after")) == (503, "engine_starting", "2")
    assert not go(entrance, "/ws", kind="websocket").accepted


def test_health_tells_both_halves() -> None:
    health = Health()
    entrance = Entrance(health)
    assert go(entrance, "/healthz").json()["engine"] == "starting"
    health.engine = lambda: {"state": "warming", "pid": 12, "message": "Loading /home/ada/x", "fraction": 0.5}
    told = go(entrance, "/healthz").json()
    assert told["web"] == "ok"
    assert (told["engine"], told["engine_pid"], told["engine_fraction"]) == ("warming", 12, 0.5)
    assert (told["page"], told["engine_message"]) == ("loading", "Loading /home/ada/x")


def test_other_machines_see_no_folders() -> None:
    health = Health(lambda: {"state": "failed", "message": "at /home/ada/easel"})
    assert "/home" not in go(Entrance(health), "/healthz", client="10.0.0.3").body.decode()
    health.clean = lambda text: text.replace("/home/ada", "…")
    assert go(Entrance(health), "/healthz", client="10.0.0.3").json()["engine_message"] == "at …/easel"


def test_the_real_app_takes_over_and_health_stays() -> None:
    async def real(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 418, "headers": []})
        await send({"type": "http.response.body", "body": b"tabs"})

    entrance = Entrance(Health())
    entrance.app = real
    assert go(entrance).body == b"tabs"
    assert go(entrance, "/healthz").json()["web"] == "ok"


def test_the_pages_ask_no_other_host_for_anything() -> None:
    for name in ("warming.html", "login.html", "docs.css"):
        text = (STATIC_DIR / name).read_text(encoding="utf-8")
        assert not re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//""", text), name


def test_nothing_heavy_is_imported_before_the_port_answers() -> None:
    code = "import sys, webui.studio_process; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"torch", "gradio", "fastapi", "pydantic", "httpx", "PIL", "numpy", "starlette"}
    assert not heavy & set(loaded)


def test_the_app_without_its_page_needs_neither_torch_nor_gradio() -> None:
    code = "import sys, webui.app; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "gradio", "diffusers"} & set(loaded)
