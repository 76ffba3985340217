"""Textual inversions from the folder to the picture: found, counted, used, told, and written into the infotext."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.support.running_studio import RunningStudio


@pytest.fixture(scope="module")
def ink(studio: RunningStudio) -> Path:
    """An embedding of three vectors, and one of another width."""
    folder = studio.settings.models_dir / "embeddings"
    folder.mkdir(exist_ok=True)
    rows = torch.randn(3, 32, generator=torch.Generator().manual_seed(1)) * 0.1
    torch.save({"string_to_param": {"*": rows}, "name": "other"}, folder / "Ink.pt")
    save_file({"emb_params": torch.zeros(2, 768)}, folder / "wide.safetensors")
    assert studio.http.get("/api/v1/adapters", params={"refresh": True}).status_code == 200
    end = time.monotonic() + 60
    while not hashes(studio).get("Ink"):
        assert time.monotonic() < end
        time.sleep(0.05)
    return folder / "Ink.pt"


def hashes(studio: RunningStudio) -> dict[str, str]:
    answer = studio.http.get("/api/v1/files", params={"kind": "embedding"}).json()
    return {view["id"]: view["hash"] for view in answer["files"]}


def test_a_picture_with_an_embedding(studio: RunningStudio, ink: Path) -> None:
    plain, inked = (studio.make(prompt=prompt, negative_prompt="wide") for prompt in ("a house", "a (ink:1.2) house"))
    told = {notice["code"]: notice["message"] for notice in inked["notices"]}
    assert told["embedding_used"] == "Embeddings in the prompt: Ink (3 vectors)."
    assert told["embedding_skipped"].startswith("The word “wide” was read as text")
    assert "embedding_used" not in {notice["code"] for notice in plain["notices"]}
    infotext = inked["images"][0]["infotext"]
    digest = hashlib.sha256(ink.read_bytes()).hexdigest()
    assert f'TI hashes: "Ink: {digest[:12]}"' in infotext
    assert f'"embed:Ink":"{digest[:10]}"' in infotext
    assert "wide:" not in infotext
    assert "TI hashes" not in plain["images"][0]["infotext"]


def test_its_tokens_are_counted_and_its_word_is_offered(studio: RunningStudio, ink: Path) -> None:
    assert studio.http.post("/api/v1/tokens", json={"prompt": "a ink house"}).json()["tokens"] == 5
    offered = studio.http.get("/api/v1/completions", params={"prefix": "in"}).json()["completions"]
    assert {"Ink"} == {row["insert"] for row in offered if row["kind"] == "embedding"}


def test_infotext_of_another_studio_is_compared_with_the_library(studio: RunningStudio, ink: Path) -> None:
    digest = hashlib.sha256(ink.read_bytes()).hexdigest()[:12]
    text = f'a cat\nSteps: 20, Sampler: Euler, CFG scale: 7, TI hashes: "badhand: 0123456789ab, theirs: {digest}"'
    notices = studio.http.post("/api/v1/recipe", json={"text": text}).json()["notices"]
    told = [notice["message"] for notice in notices if notice["code"] == "embedding_skipped"]
    assert told == [
        "The embedding “theirs” is called “Ink” here.",
        "Embeddings that are not in the library: “badhand”. The words are only text.",
    ]
