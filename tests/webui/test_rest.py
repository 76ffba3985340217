"""The REST routes against a real engine with a tiny model."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.errors import LEAVES
from tests.support.running_studio import SMALL, RunningStudio

CODES = {code for leaf in LEAVES for code in leaf.codes}


def is_error(answer: httpx.Response) -> bool:
    """Whether an answer has the one shape of errors, with a code that exists."""
    error = answer.json()["error"]
    return set(error) == {"code", "message", "hint"} and error["code"] in CODES and bool(error["message"])


def test_a_job_from_submit_to_picture(studio: RunningStudio) -> None:
    spec = {**SMALL, "prompt": "a blue boat", "steps": 2, "count": 2, "seed": 11}
    answer = studio.http.post("/api/v1/jobs", json=spec)
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/api/v1/jobs/{answer.json()['id']}"
    view = studio.finished(answer.json()["id"])
    assert view["status"] == "done", view
    assert [image["seed"] for image in view["images"]] == [11, 12]
    assert view["images"][0]["url"].startswith("/outputs/")
    assert view["error"] is None
    listed = studio.http.get("/api/v1/jobs", params={"limit": 500}).json()["jobs"]
    assert view["id"] in [job["id"] for job in listed]
    assert studio.http.get("/api/v1/jobs", params={"status": "failed"}).status_code == 200


def test_a_repeated_submit_is_the_same_job(studio: RunningStudio) -> None:
    spec = {**SMALL, "prompt": "a tree", "steps": 1}
    first, second = (
        studio.http.post("/api/v1/jobs", params={"request_id": "once"}, json=spec).json()["id"] for _ in range(2)
    )
    assert first == second


def test_a_job_can_be_canceled(studio: RunningStudio) -> None:
    spec = {**SMALL, "prompt": "a slow one", "steps": 150, "count": 8}
    job = studio.http.post("/api/v1/jobs", json=spec).json()
    skipped = studio.http.delete(f"/api/v1/jobs/{job['id']}", params={"image": 3})
    assert skipped.status_code == 200
    assert studio.http.delete(f"/api/v1/jobs/{job['id']}").status_code == 200
    assert studio.finished(job["id"])["status"] == "canceled"
    again = studio.http.delete(f"/api/v1/jobs/{job['id']}")
    assert again.status_code in (200, 409)


def test_a_spec_can_be_checked_without_queueing(studio: RunningStudio) -> None:
    view = studio.http.post("/api/v1/check", json={"prompt": "a cat"}).json()
    assert view["id"] == ""
    assert view["spec"]["steps"] is not None


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"prompt": "x", "steps": 0}, "steps_out_of_range"),
        ({"prompt": "x", "width": 13}, "size_out_of_range|size_not_multiple"),
        ({"prompt": "x", "width": 10_000}, "size_out_of_range"),
        ({"prompt": ""}, "prompt_empty"),
        ({"prompt": "x" * 100_000}, "prompt_too_long"),
        ({"prompt": "..., !"}, "prompt_no_words"),
        ({"prompt": "x", "sampler": "Eulr"}, "sampler_unknown"),
        ({"prompt": "x", "model": "nothing-like-it"}, "model_unknown"),
        ({"prompt": "x", "seed": -1}, "seed_out_of_range"),
        ({"prompt": "x", "count": 0}, "count_out_of_range"),
        ({"prompt": "x", "guidance": 99}, "guidance_out_of_range"),
        ({"prompt": "x", "adapters": [{"name": "nobody"}]}, "adapter_unknown|not_built_yet"),
    ],
)
def test_a_spec_out_of_range_has_its_own_code(studio: RunningStudio, spec: dict[str, Any], code: str) -> None:
    answer = studio.http.post("/api/v1/jobs", json=spec)
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] in code.split("|")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"prompt": "x", "stpes": 3}', "“steps”"),
        (b'{"prompt": "x", "output": {"fromat": "png"}}', "“format”"),
        (b'{"prompt": "x", "adapters": [{"nam": "a"}]}', "“name”"),
        (b'{"prompt": "x", "schem": 1}', "“schema”"),
        (b'{"prompt": "x", "steps": "many"}', "whole number"),
        (b'{"prompt": "x", "steps": 2.5}', "whole number"),
        (b'{"prompt": "x", "guidance": NaN}', "finite"),
        (b'{"prompt": "x", "guidance": Infinity}', "finite"),
        (b'{"prompt": "x", "guidance": 1e999}', "finite"),
        (b'{"prompt": 7}', "text"),
        (b"[]", "object"),
        (b"null", "object"),
        (b"", "JSON"),
        (b"{", "JSON"),
        (b'{"prompt": "\xff\xfe"}', "JSON"),
        (b'{"prompt": "\\ud800"}', "JSON"),
        (b'{"ext": ' + b"[" * 5000 + b"]" * 5000 + b"}", "JSON"),
    ],
)
def test_bad_bodies_are_explained(studio: RunningStudio, body: bytes, words: str) -> None:
    answer = studio.http.post("/api/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert is_error(answer)
    error = answer.json()["error"]
    assert words in error["message"] + error["hint"]


@pytest.mark.parametrize("number", [b"1" + b"0" * 400, b"9" * 5000, b"-" + b"9" * 30, b"4294967296"])
@pytest.mark.parametrize("field", [b"seed", b"steps", b"count", b"width", b"guidance", b"clip_skip"])
def test_huge_numbers_are_refused(studio: RunningStudio, number: bytes, field: bytes) -> None:
    body = b'{"prompt": "x", "' + field + b'": ' + number + b"}"
    answer = studio.http.post("/api/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert is_error(answer)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
FIELDS = [
    "prompt", "steps", "width", "seed", "sampler", "styles", "adapters", "output", "schema", "count", "vae",
]  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4))
def test_no_spec_makes_the_studio_fail(studio: RunningStudio, spec: dict[str, Any]) -> None:
    body = json.dumps(spec).encode()
    answer = studio.http.post("/api/v1/check", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200 or (answer.status_code == 422 and is_error(answer)), answer.text


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.sampled_from(["/api/v1/check", "/generate", "/api/v1/tokens", "/api/v1/recipe"]))
def test_no_bytes_make_the_studio_fail(studio: RunningStudio, body: bytes, path: str) -> None:
    answer = studio.http.post(path, content=body)
    assert answer.status_code in (200, 422), answer.text
    assert answer.status_code == 200 or is_error(answer)


def test_the_body_has_to_say_that_it_is_json(studio: RunningStudio) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert studio.http.post("/api/v1/jobs", content=b'{"prompt": "x"}', headers=form).status_code == 422


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing/here", 404, "route_unknown"),
        ("POST", "/nothing/here", 404, "route_unknown"),
        ("GET", "/api/v1", 404, "route_unknown"),
        ("DELETE", "/api/v1/models", 405, "route_unknown"),
        ("PUT", "/generate", 405, "route_unknown"),
        ("GET", "/api/v1/jobs/none", 404, "job_unknown"),
        ("DELETE", "/api/v1/jobs/none", 404, "job_unknown"),
        ("GET", "/api/v1/history/none", 404, "image_unknown"),
        ("GET", "/api/v1/assets/none", 404, "asset_unknown"),
        ("GET", "/api/v1/assets/" + "0" * 64, 404, "asset_unknown"),
        ("GET", "/api/v1/jobs?limit=0", 422, "bad_request"),
        ("GET", "/api/v1/jobs?limit=x", 422, "bad_request"),
        ("GET", "/api/v1/jobs?status=odd", 422, "bad_request"),
        ("GET", "/api/v1/files?kind=odd", 422, "bad_request"),
        ("GET", "/api/v1/events?after=-1", 422, "bad_request"),
        ("GET", "/outputs/none.png", 404, "image_unknown"),
        ("GET", "/outputs/", 404, "image_unknown"),
        ("GET", "/thumbs/none.png?w=99999", 422, "bad_request"),
    ],
)
def test_every_failure_has_one_shape(studio: RunningStudio, method: str, path: str, status: int, code: str) -> None:
    answer = studio.http.request(method, path)
    assert is_error(answer)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_a_search_that_is_too_long_is_told_in_our_words(studio: RunningStudio) -> None:
    answer = studio.http.get("/api/v1/history", params={"query": "z" * 2001})
    assert answer.status_code == 422
    assert answer.json()["error"]["message"] == "“query” is not usable: it must have at most 2000 characters."


def test_what_can_be_chosen_is_listed(studio: RunningStudio) -> None:
    models = studio.http.get("/api/v1/models").json()
    assert "tiny-sd1" in [model["id"] for model in models["models"]]
    assert models["folders"]
    assert studio.http.get("/api/v1/models?refresh=true").status_code == 200
    samplers = studio.http.get("/api/v1/samplers").json()["samplers"]
    assert all(sampler["schedules"] for sampler in samplers)
    controls = studio.http.get("/api/v1/controlnets").json()
    assert {"canny", "depth"} <= {each["id"] for each in controls["types"]}
    assert {"none", "canny"} <= {each["id"] for each in controls["preprocessors"]}
    for path in ("files?kind=controlnet", "files?kind=adapter", "files?kind=vae"):
        assert "files" in studio.http.get(f"/api/v1/{path}").json()


def test_a_hint_is_made_over_rest_and_found_again(studio: RunningStudio) -> None:
    buffer = io.BytesIO()
    Image.linear_gradient("L").save(buffer, "PNG")
    image = studio.http.post("/api/v1/assets", content=buffer.getvalue()).json()["ref"]
    asked = {"image": image, "preprocessor": "canny", "width": 64, "height": 64}
    # A picture is made once the engine is warm.
    studio.make(prompt="x", steps=1)
    first = studio.http.post("/api/v1/hints", json=asked)
    assert first.status_code == 200
    again = studio.http.post("/api/v1/hints", json=asked).json()
    assert again["cached"]
    assert again["ref"] == first.json()["ref"]
    assert studio.http.get(f"/api/v1/assets/{again['ref']}").headers["content-type"] == "image/png"
    refused = studio.http.post("/api/v1/hints", json={**asked, "preprocessor": "softedge_hed"})
    assert is_error(refused)
    assert refused.json()["error"]["code"] == "annotator_missing"


def test_styles_are_added_replaced_and_removed(studio: RunningStudio) -> None:
    style = {"name": "moody", "prompt": "dark, {prompt}", "negative_prompt": "sun"}
    assert style in studio.http.post("/api/v1/styles", json=style).json()["styles"]
    assert style in studio.http.get("/api/v1/styles").json()["styles"]
    left = studio.http.delete("/api/v1/styles", params={"name": "moody"}).json()["styles"]
    assert "moody" not in [item["name"] for item in left]


def test_tokens_are_counted(studio: RunningStudio) -> None:
    counted = studio.http.post("/api/v1/tokens", json={"prompt": "a cat on a mat"}).json()
    assert counted["tokens"] == 5
    assert counted["chunks"] == 1


def test_history_is_searched_marked_deleted_and_restored(studio: RunningStudio, picture: dict[str, Any]) -> None:
    def found() -> list[str]:
        page = studio.http.get("/api/v1/history", params={"query": "unmistakable"}).json()
        return [image["id"] for image in page["images"]]

    assert found() == [picture["id"]]
    assert studio.http.get(f"/api/v1/history/{picture['id']}").json()["seed"] == picture["seed"]
    marked = studio.http.patch(f"/api/v1/history/{picture['id']}", json={"favourite": True, "tags": ["hill"]}).json()
    assert (marked["favourite"], marked["tags"]) == (True, ["hill"])
    assert studio.http.delete(f"/api/v1/history/{picture['id']}").json()["count"] == 1
    assert found() == []
    assert studio.http.get(str(picture["url"])).status_code == 404
    assert studio.http.post("/api/v1/history/restore", json={"image_ids": [picture["id"]]}).json()["count"] == 1
    assert found() == [picture["id"]]
    assert studio.http.get(str(picture["url"])).status_code == 200
    assert studio.http.post("/api/v1/history/rebuild").status_code == 200


def test_metrics_of_both_halves(studio: RunningStudio, picture: dict[str, Any]) -> None:
    text = studio.http.get("/metrics").text
    assert "easel_engine_up 1.0" in text
    assert re.search(r'easel_web_answers_total\{method="GET",status="200"\} [1-9]', text)
    assert len([line for line in text.splitlines() if line.startswith("# TYPE")]) > 5
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names))


def test_memory_and_status(studio: RunningStudio) -> None:
    memory = studio.http.get("/api/v1/memory").json()
    assert memory["ram_total"] > memory["ram_available"] > 0
    assert memory["web_rss"] > 0
    assert studio.http.get("/api/v1/status").json()["state"] in ("starting", "warming", "ready")
    assert studio.http.get("/healthz").json()["web"] == "ok"


def test_the_documents_are_complete_and_offline(studio: RunningStudio) -> None:
    document = studio.http.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    for name in re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)):
        assert name in schemas
    assert {"GenerationSpec", "GenerationRequest", "JobView", "Error"} <= set(schemas)
    page = studio.http.get("/docs").text
    for path in document["paths"]:
        assert path.replace("{", "{") in page
    assert not re.search(r"""(?:src|href)=["']https?://""", page)
    assert studio.http.get("/static/docs.css").status_code == 200


def test_other_machines_see_no_folders(studio: RunningStudio, picture: dict[str, Any]) -> None:
    folder = str(studio.settings.data_dir)
    with studio.other_machine() as other:
        for path in ("/api/v1/models", "/api/v1/jobs", "/api/v1/status", "/api/v1/history", "/healthz", "/metrics"):
            answer = other.get(path)
            assert answer.status_code == 200
            assert folder not in answer.text
        assert other.get("/api/v1/models").json()["folders"] == []
        made = other.post("/generate", json={**SMALL, "prompt": "a door", "steps": 1}).json()
        assert made["path"] == f"outputs/{made['filename']}"


def test_own_files_cannot_be_left(studio: RunningStudio) -> None:
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static/", "/static/no.js"):
        assert studio.http.get(path).status_code == 404
