"""Server-sent events and the page's WebSocket, over a real port."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.support.running_studio import SMALL, RunningStudio


def messages(response: httpx.Response) -> Iterator[tuple[int, dict[str, Any]]]:
    """The events of a stream with their numbers."""
    number = 0
    for line in response.iter_lines():
        if line.startswith("id: "):
            number = int(line[4:])
        elif line.startswith("data: ") and line != "data: {}":
            yield number, json.loads(line[6:])


def test_events_of_a_job_come_in_order_and_can_be_resumed(studio: RunningStudio) -> None:
    seen: list[tuple[int, dict[str, Any]]] = []
    with studio.http.stream("GET", "/api/v1/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        job = studio.http.post("/api/v1/jobs", json={**SMALL, "prompt": "a stream", "steps": 3}).json()["id"]
        for number, event in messages(stream):
            seen.append((number, event))
            if event["kind"] == "job" and event["job"]["id"] == job and event["job"]["status"] == "done":
                break
    numbers = [number for number, _ in seen]
    assert numbers == sorted(set(numbers))
    assert all(number == event["seq"] for number, event in seen)
    assert {"job", "image"} <= {event["kind"] for _, event in seen}
    lasting = [number for number, event in seen if event["kind"] == "job"]
    with studio.http.stream("GET", "/api/v1/events", headers={"Last-Event-ID": str(lasting[0])}) as again:
        for number, event in messages(again):
            assert number > lasting[0]
            if number == lasting[-1]:
                assert event["job"]["status"] == "done"
                break


def socket(studio: RunningStudio, **headers: str) -> Any:
    return connect(f"ws://127.0.0.1:{studio.port}/ws", additional_headers=headers, open_timeout=20)


def test_the_page_is_greeted_and_hears_of_its_job(studio: RunningStudio) -> None:
    with socket(studio) as page, socket(studio) as other:
        for one in (page, other):
            hello = json.loads(one.recv(20))
            assert hello["kind"] == "hello"
            assert {"state", "message", "last_seq"} <= set(hello["status"])
        job = studio.http.post("/api/v1/jobs", json={**SMALL, "prompt": "a socket", "steps": 2}).json()["id"]
        for one in (page, other):
            kinds = []
            while True:
                event = json.loads(one.recv(120))
                kinds.append(event["kind"])
                if event["kind"] == "job" and event["job"]["id"] == job and event["job"]["status"] == "done":
                    break
            assert "image" in kinds
    with socket(studio) as later:
        assert job in [item["id"] for item in json.loads(later.recv(20))["jobs"]]


def test_foreign_pages_get_no_stream(studio: RunningStudio) -> None:
    for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://localhost:1"}):
        with pytest.raises(InvalidStatus) as refused, socket(studio, **headers):
            pass
        assert refused.value.response.status_code == 403


def test_a_page_that_leaves_is_forgotten(studio: RunningStudio) -> None:
    with socket(studio) as page:
        page.recv(20)
        assert studio.context.hub.session_count >= 1
        page.send("something unexpected")
    before = studio.context.hub.session_count
    with socket(studio) as page:
        page.recv(20)
    while studio.context.hub.session_count > before:
        pass
