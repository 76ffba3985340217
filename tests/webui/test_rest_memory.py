"""The memory routes against a real engine with a tiny model."""

from __future__ import annotations

import time

from tests.support.running_studio import SMALL, RunningStudio


def test_the_view(studio: RunningStudio) -> None:
    end = time.monotonic() + 120
    while not (view := studio.http.get("/api/v1/memory").json())["pool_limit"] and time.monotonic() < end:
        time.sleep(0.2)
    assert view["pool_limit"] > 0
    assert view["engine_answers"]
    assert view["ram_total"] >= view["ram_available"] > 0
    assert view["engine_rss"] > 0
    assert {level["level"] for level in view["levels"]} == {"none", "balanced", "aggressive", "ultra"}


def test_a_forecast(studio: RunningStudio) -> None:
    answer = studio.http.post("/api/v1/memory/forecast", json={"spec": {**SMALL, "prompt": "x"}})
    assert answer.status_code == 200, answer.text
    assert answer.json()["fits"]
    huge = {"spec": {**SMALL, "prompt": "x", "width": 4096, "height": 4096, "count": 64, "batch_size": 64}}
    forecast = studio.http.post("/api/v1/memory/forecast", json=huge).json()
    assert forecast["fits"] or forecast["advice"]
    wrong = studio.http.post("/api/v1/memory/forecast", json={"spec": {"prompt": "x", "model": "nothing like it"}})
    assert wrong.json()["error"]["code"] == "model_unknown"


def test_settings_and_their_refusals(studio: RunningStudio) -> None:
    before = studio.http.get("/api/v1/memory").json()
    view = studio.http.post("/api/v1/memory/level", json={"level": "balanced", "policy": "size"}).json()
    assert (view["level"], view["policy"]) == ("balanced", "size")
    back = {"level": before["level"], "policy": before["policy"]}
    assert studio.http.post("/api/v1/memory/level", json=back).json()["level"] == before["level"]
    for wrong in ({"level": "extreme"}, {"policy": "random"}, {"pool_gb": -1}, {"pool_gb": 1e9}, {"nothing": 1}):
        answer = studio.http.post("/api/v1/memory/level", json=wrong)
        assert answer.status_code == 422
        assert answer.json()["error"]["code"] in ("bad_request", "memory_budget_out_of_range")


def test_release_and_pins(studio: RunningStudio) -> None:
    assert studio.http.post("/api/v1/memory/release", json={}).status_code == 200
    gone = studio.http.post("/api/v1/memory/release", json={"key": "0123"})
    assert (gone.status_code, gone.json()["error"]["code"]) == (409, "not_loaded")
    neither = studio.http.post("/api/v1/memory/pin", json={})
    assert neither.status_code == 422
