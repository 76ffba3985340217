"""Routes of extensions answer below /api/v1/ext/<id>/ and fail in the one shape."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.support.running_studio import RunningStudio
from tests.webui.test_extensions_loading import write
from webui.api.extensions import routes_of
from webui.app import create_app
from webui.extension_loader import load_extensions
from webui.host import TabContext

CODE = """
from engine.errors import SpecError
from engine.protocol.commands import ListModels

def register(host):
    host.rest_route("models/{what}", models)
    host.rest_route("echo", echo, method="POST")
    host.rest_route("refuse", refuse)
    host.rest_route("break", broken)

async def models(context, request):
    found = await context.client.call(ListModels(owner=request.owner))
    return {"what": request.path["what"], "asked": request.query, "models": [view.id for view in found.models]}

async def echo(context, request):
    return request.body

async def refuse(context, request):
    raise SpecError("bad_request", "There is no tea.", "Ask for coffee.")

async def broken(context, request):
    raise ZeroDivisionError
"""


@pytest.fixture(scope="module")
def browser(studio: RunningStudio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    root = tmp_path_factory.mktemp("extensions")
    write(root, "tea-time", CODE)
    (loaded,) = load_extensions(root).loaded
    app = create_app(studio.context)
    context = TabContext(client=studio.context.client, settings=studio.settings)
    app.router.routes.extend(routes_of(context, loaded.host.routes))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def test_a_route_asks_the_engine_and_knows_what_it_was_asked(browser: TestClient, studio: RunningStudio) -> None:
    answer = browser.get("/api/v1/ext/tea-time/models/all?lang=en").json()
    assert answer["what"] == "all"
    assert answer["asked"] == {"lang": "en"}
    assert answer["models"]


def test_a_body_is_json(browser: TestClient) -> None:
    assert browser.post("/api/v1/ext/tea-time/echo", json={"a": [1, None]}).json() == {"a": [1, None]}
    assert browser.post("/api/v1/ext/tea-time/echo").json() is None
    answer = browser.post("/api/v1/ext/tea-time/echo", content=b"{no")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "bad_request")


def test_failures_have_the_one_shape(browser: TestClient) -> None:
    refused = browser.get("/api/v1/ext/tea-time/refuse").json()["error"]
    assert (refused["code"], refused["message"]) == ("bad_request", "There is no tea.")
    broken = browser.get("/api/v1/ext/tea-time/break")
    assert (broken.status_code, broken.json()["error"]["code"]) == (500, "internal")
    assert "tea-time" in broken.json()["error"]["message"]
    assert browser.get("/api/v1/ext/tea-time/nothing").json()["error"]["code"] == "route_unknown"


def test_the_card_names_the_routes(tmp_path: Path) -> None:
    write(tmp_path, "tea-time", CODE)
    (card,) = load_extensions(tmp_path).cards
    assert "POST /api/v1/ext/tea-time/echo" in card.adds
