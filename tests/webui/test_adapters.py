"""The routes of adapters against a real engine: list, search, inspect, preview, report, suggest, stacks, pictures."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from PIL import Image

from tests.support.adapter_files import write_lora
from tests.support.running_studio import SMALL, RunningStudio


@pytest.fixture(scope="module")
def adapters(studio: RunningStudio) -> RunningStudio:
    """The studio with a few adapters, one with a preview."""
    folder = studio.settings.models_dir / "loras"
    tags = {"5_ink": {"castle": 30, "night": 12}}
    told = {"modelspec.trigger_phrase": "ink wash", "ss_tag_frequency": json.dumps(tags), "modelspec.title": "Ink Wash"}
    write_lora(folder / "styles" / "ink.safetensors", metadata=told, seed=1)
    Image.new("RGB", (600, 300), "teal").save(folder / "styles" / "ink.png")
    write_lora(folder / "people" / "ann.safetensors", seed=2)
    write_lora(folder / "wide.safetensors", width=768)
    (folder / "broken.safetensors").write_bytes(b"a text that pretends to be a model file")
    assert studio.http.get("/api/v1/adapters", params={"refresh": True}).status_code == 200
    return studio


def listed(studio: RunningStudio, **params: Any) -> list[str]:
    answer = studio.http.get("/api/v1/adapters", params=params)
    assert answer.status_code == 200, answer.text
    return [view["id"] for view in answer.json()["adapters"]]


def test_the_library_is_listed_searched_and_paged(adapters: RunningStudio) -> None:
    page = adapters.http.get("/api/v1/adapters").json()
    assert {"ink", "ann", "wide", "broken"} <= {view["id"] for view in page["adapters"]}
    assert {"styles", "people"} <= set(page["folders"])
    assert page["scanning"] is False
    assert listed(adapters, query="castle wash") == ["ink"]
    assert listed(adapters, folder="people") == ["ann"]
    assert "wide" in listed(adapters, family="sd1")
    assert "ann" not in listed(adapters, family="sd1")
    first = adapters.http.get("/api/v1/adapters", params={"limit": 1}).json()
    second = adapters.http.get("/api/v1/adapters", params={"limit": 1, "cursor": first["next_cursor"]}).json()
    assert first["adapters"] != second["adapters"]
    assert first["total"] == second["total"] == page["total"]
    bad = adapters.http.get("/api/v1/adapters", params={"cursor": "x"})
    assert (bad.status_code, bad.json()["error"]["code"]) == (422, "bad_request")


def test_one_adapter_with_its_metadata_and_picture(adapters: RunningStudio) -> None:
    told = adapters.http.get("/api/v1/adapters/ink").json()
    assert (told["view"]["title"], told["view"]["kind"], told["view"]["has_preview"]) == ("Ink Wash", "LoRA", True)
    assert told["tag_counts"] == {"castle": 30, "night": 12}
    assert told["metadata"]["modelspec.trigger_phrase"] == "ink wash"
    assert told["modules"] == 2
    picture = adapters.http.get("/api/v1/adapters/ink/preview", params={"w": 128})
    assert picture.headers["content-type"] == "image/webp"
    assert Image.open(io.BytesIO(picture.content)).size == (128, 64)
    for path, status, code in (
        ("ann/preview", 404, "preview_unknown"),
        ("nobody/preview", 422, "adapter_unknown"),
        ("nobody", 422, "adapter_unknown"),
        ("..%2f..%2fetc/preview", 422, "adapter_unknown"),
    ):
        answer = adapters.http.get(f"/api/v1/adapters/{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), path
    assert "text" in adapters.http.get("/api/v1/adapters/broken").json()["view"]["problem"]


def test_other_machines_learn_no_folder(adapters: RunningStudio) -> None:
    folder = str(adapters.settings.data_dir)
    with adapters.other_machine() as other:
        for path in ("adapters", "adapters/ink", "adapters?query=ink", "stacks", "completions?prefix=in"):
            answer = other.get(f"/api/v1/{path}")
            assert answer.status_code == 200, path
            assert folder not in answer.text


def test_a_report_before_anything_runs(adapters: RunningStudio) -> None:
    rows = [{"name": "ink"}, {"name": "ann", "unet_weight": -1}, {"name": "wide"}, {"name": "nobody"}]
    answer = adapters.http.post("/api/v1/adapters/report", json={"adapters": rows, "conflicts": True})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    usable = {report["id"]: report["usable"] for report in told["reports"]}
    assert usable == {"ink": True, "ann": True, "wide": False, "nobody": False}
    first = told["reports"][0]
    assert (first["matched"], first["total"]) == (2, 2)
    assert [(row["component"], row["matched"]) for row in first["components"]] == [("unet", 2)]
    (pair,) = told["conflicts"]
    assert (pair["first"], pair["second"], pair["shared_modules"]) == ("ink", "ann", 2)
    assert -1 <= pair["mean_cosine"] <= 1
    refused = adapters.http.post("/api/v1/adapters/report", json={"model": "nope", "adapters": []})
    assert refused.json()["error"]["code"] == "model_unknown"


def test_suggestions_learn_from_pictures_and_forget_on_demand(adapters: RunningStudio) -> None:
    def suggested(prompt: str, **fields: Any) -> dict[str, str]:
        answer = adapters.http.post("/api/v1/adapters/suggest", json={"prompt": prompt, **fields})
        assert answer.status_code == 200, answer.text
        return {row["adapter"]["id"]: row["reason"] for row in answer.json()["suggestions"]}

    assert "castle" in suggested("a castle")["ink"]
    assert "ann" not in suggested("purple zebra walking")
    job = adapters.http.post(
        "/api/v1/jobs", json={**SMALL, "prompt": "purple zebra", "steps": 1, "adapters": [{"name": "ann"}]}
    ).json()
    done = adapters.finished(job["id"])
    assert done["status"] == "done", done["error"]
    assert "you used it for a picture".capitalize() in suggested("purple zebra walking")["ann"]
    assert "ann" not in suggested("purple zebra walking", forget=True)
    assert suggested("") == {}
    words = adapters.http.get("/api/v1/completions", params={"prefix": "zeb"}).json()["completions"]
    assert [(word["text"], word["kind"]) for word in words] == [("zebra", "history")]
    tags = adapters.http.get("/api/v1/completions", params={"prefix": "<lora:in"}).json()["completions"]
    assert tags[0]["insert"].startswith("<lora:ink:")


def test_named_stacks(adapters: RunningStudio) -> None:
    stack = {"name": "Evening", "adapters": [{"name": "ink", "unet_weight": 0.4, "start": 0.2}]}
    kept = adapters.http.put("/api/v1/stacks", json=stack).json()["stacks"]
    assert [row["name"] for row in kept] == ["Evening"]
    assert adapters.http.get("/api/v1/stacks").json()["stacks"][0]["adapters"][0]["start"] == 0.2
    assert adapters.http.put("/api/v1/stacks", json={"name": ""}).status_code == 422
    assert adapters.http.delete("/api/v1/stacks", params={"name": "Evening"}).json()["stacks"] == []
    gone = adapters.http.delete("/api/v1/stacks", params={"name": "Evening"})
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "stack_unknown")


def test_a_picture_carries_its_stack_and_gives_it_back(adapters: RunningStudio) -> None:
    spec = {**SMALL, "prompt": "a hut <lora:ink:0.8:0.5>", "steps": 2, "seed": 3, "adapters": [{"name": "ann"}]}
    view = adapters.finished(adapters.http.post("/api/v1/jobs", json=spec).json()["id"])
    assert view["status"] == "done", view["error"]
    (image,) = view["images"]
    assert "<lora:ann:1> <lora:ink:te=0.5:unet=0.8>" in image["infotext"]
    assert image["spec"]["prompt"] == "a hut, ink wash"
    data = adapters.http.get(image["url"]).content
    recipe = adapters.http.post("/api/v1/recipe", content=data, headers={"content-type": "image/png"}).json()
    assert recipe["spec"] == image["spec"]
    typed = adapters.http.post("/api/v1/recipe", json={"text": image["infotext"]}).json()["spec"]
    assert [(row["name"], row["unet_weight"], row["text_weight"]) for row in typed["adapters"]] == [
        ("ann", 1.0, None),
        ("ink", 0.8, 0.5),
    ]
    again = {name: value for name, value in typed.items() if name != "schema"}
    second = adapters.finished(adapters.http.post("/api/v1/jobs", json=again).json()["id"])
    assert second["status"] == "done", second["error"]
    pictures = [Image.open(io.BytesIO(adapters.http.get(made["url"]).content)) for made in (image, second["images"][0])]
    assert pictures[0].tobytes() == pictures[1].tobytes()


def test_the_seeds_routes_with_adapters(adapters: RunningStudio) -> None:
    rows = {row["id"]: row for row in adapters.http.get("/loras").json()["loras"]}
    assert rows["ink"] == {"id": "ink", "name": "Ink Wash", "default_weight": 1.0, "trigger_words": ["ink wash"]}
    assert "broken" not in rows
    asked = {**SMALL, "prompt": "a hut", "steps": 1, "loras": [{"name": "ink", "weight": 0.7}]}
    made = adapters.http.post("/generate", json=asked).json()
    assert made["status"] == "success", made
    assert made["metadata"]["loras"] == [{"name": "ink", "weight": 0.7}]
    missing = adapters.http.post("/generate", json={**asked, "loras": [{"name": "inkk", "weight": 0.7}]})
    assert missing.json()["error"]["code"] == "adapter_unknown"
    assert "“ink”" in missing.json()["error"]["hint"]
    skipped = {**asked, "loras": [{"name": "inkk", "weight": 0.7}], "on_missing": "skip"}
    answer = adapters.http.post("/generate", json=skipped).json()
    assert answer["status"] == "success"
    assert "adapter_skipped" in [notice["code"] for notice in answer["notices"]]


def test_an_adapter_that_fits_nothing_ends_the_job_with_the_reason(adapters: RunningStudio) -> None:
    job = adapters.http.post("/api/v1/jobs", json={**SMALL, "prompt": "x", "steps": 1, "adapters": [{"name": "wide"}]})
    view = adapters.finished(job.json()["id"])
    assert view["status"] == "failed"
    assert view["error"]["code"].startswith("adapter_")
