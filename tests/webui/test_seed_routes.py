"""POST /generate, GET /models, GET /loras: the seed's fields."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.support.running_studio import SMALL, RunningStudio
from tests.support.tiny_adapters import write_tiny_lora


def test_generate_answers_with_the_seeds_fields(studio: RunningStudio) -> None:
    asked = {"model": "tiny-sd1", "prompt": "a cute pony", "steps": 3, "guidance_scale": 7.5, "seed": 42, **SMALL}
    answer = studio.http.post("/generate", json=asked)
    assert answer.status_code == 200, answer.text
    made = answer.json()
    assert set(made) == {"status", "filename", "path", "url", "metadata", "notices"}
    assert made["status"] == "success"
    assert re.fullmatch(r"tiny_sd1_\d{8}_\d{6}_[0-9a-f]{8}\.png", made["filename"])
    assert made["url"] == f"/outputs/{made['filename']}"
    assert Path(made["path"]).read_bytes() == studio.http.get(made["url"]).content
    assert made["metadata"] == {"model": "tiny-sd1", "loras": [], "steps": 3, "guidance_scale": 7.5, "seed": 42}


def test_a_seed_is_always_drawn_and_told(studio: RunningStudio) -> None:
    made = studio.http.post("/generate", json={"prompt": "x", "steps": 1, **SMALL}).json()
    assert 0 <= made["metadata"]["seed"] < 2**32
    assert made["metadata"]["model"] == "tiny-sd1"


def test_the_same_seed_gives_the_same_picture(studio: RunningStudio) -> None:
    asked = {"prompt": "test", "seed": 12345, "steps": 2, **SMALL}
    # Without a content type of JSON, as the seed's fourth example sends it.
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    first, second = (studio.http.post("/generate", content=json.dumps(asked), headers=form).json() for _ in range(2))
    assert first["filename"] != second["filename"]
    from PIL import Image

    with Image.open(first["path"]) as one, Image.open(second["path"]) as two:
        assert one.tobytes() == two.tobytes()


def test_a_page_may_not_use_that_freedom(studio: RunningStudio) -> None:
    headers = {"Content-Type": "text/plain", "Origin": studio.url}
    assert studio.http.post("/generate", content=b'{"prompt": "x"}', headers=headers).status_code == 422


def test_what_cannot_be_made_is_told(studio: RunningStudio) -> None:
    def code(**asked: object) -> str:
        answer = studio.http.post("/generate", json={"prompt": "x", "steps": 1, **asked})
        assert answer.status_code == 422, answer.text
        return str(answer.json()["error"]["code"])

    assert code(ip_strength=0.5) == "control_image_missing"
    assert code(ip_strength=1.5) == "fraction_out_of_range"
    assert code(model="pony-xl-v6") == "model_unknown"
    assert code(loras=[{"name": "nobody", "weight": 0.5}]) in ("adapter_unknown", "not_built_yet")
    assert code(steps=0) == "steps_out_of_range"
    assert code(promt="y") == "bad_request"
    assert studio.http.post("/generate", json={}).json()["error"]["code"] == "bad_request"


def test_the_metadata_names_what_was_applied_and_the_notices_what_was_skipped(studio: RunningStudio) -> None:
    folder = studio.settings.models_dir
    write_tiny_lora(folder / "loras" / "seed-ink.safetensors", folder / "checkpoints" / "tiny-sd1")
    assert studio.http.get("/api/v1/adapters", params={"refresh": True}).status_code == 200
    loras = [{"name": "gone", "weight": 0.5}, {"name": "seed-ink.safetensors", "weight": 0.6}]
    asked = {"prompt": "x <lora:nobody:0.3>", "steps": 1, "loras": loras, "on_missing": "skip", **SMALL}
    made = studio.http.post("/generate", json=asked).json()
    assert made["metadata"]["loras"] == [{"name": "seed-ink", "weight": 0.6}]
    skipped = [notice["message"] for notice in made["notices"] if notice["code"] == "adapter_skipped"]
    assert len(skipped) == 2
    assert "“gone” was skipped" in skipped[0]
    assert "“nobody” was skipped" in skipped[1]


def test_models_and_loras_have_the_seeds_fields(studio: RunningStudio) -> None:
    models = studio.http.get("/models").json()
    assert set(models) == {"models"}
    assert {"id", "name", "supported_loras"} == set(models["models"][0])
    assert set(studio.http.get("/loras").json()) == {"loras"}
