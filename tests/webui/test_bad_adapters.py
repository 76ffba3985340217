"""Every bad adapter through REST: one sentence with a stable code, and the others go on."""

from __future__ import annotations

import io
import pickle
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.support.adapter_files import write_lora
from tests.support.running_studio import SMALL, RunningStudio

FEW = {**SMALL, "prompt": "a fox", "steps": 2, "seed": 7}


def changed(path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """A file of `write_lora` with other tensors."""
    tensors = load_file(write_lora(path))
    change(tensors)
    save_file(tensors, path)


def truncated(path: Path) -> None:
    path.write_bytes(write_lora(path).read_bytes()[:-40])


def a_text(path: Path) -> None:
    path.write_text("To use this adapter, download it from our page, and put it into the folder of your adapters.")


def a_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"lora_unet_x.lora_up.weight": [0.0] * 40}))


def not_numbers(path: Path) -> None:
    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        next(tensor for name, tensor in tensors.items() if "lora_up" in name)[0, 0] = float("nan")

    changed(path, spoil)


def other_ranks(path: Path) -> None:
    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        for name in [name for name in tensors if "lora_up" in name]:
            tensors[name] = torch.zeros(32, 3)

    changed(path, spoil)


def no_modules(path: Path) -> None:
    save_file({"lora_unet_nowhere.lora_up.weight": torch.zeros(4, 2), "lora_unet_nowhere.alpha": torch.ones(1)}, path)


BAD = {
    "truncated": (truncated, "model_file_truncated"),
    "text": (a_text, "model_file_not_a_model"),
    "pickle": (a_pickle, "model_file_not_a_model"),
    "nan": (not_numbers, "adapter_not_finite"),
    "ranks": (other_ranks, "adapter_damaged"),
    "nowhere": (no_modules, "adapter_matches_nothing"),
}


@pytest.fixture(scope="module")
def folder(studio: RunningStudio) -> Iterator[Path]:
    """A folder of files for this module; other modules use the same studio after it."""
    found = studio.settings.models_dir / "loras" / "bad"
    found.mkdir(parents=True)
    for name, (write, _) in BAD.items():
        write(found / f"bad-{name}.safetensors")
    write_lora(found / "good.safetensors", seed=1)
    refresh(studio)
    yield found
    shutil.rmtree(found)
    refresh(studio)


def refresh(studio: RunningStudio) -> None:
    assert studio.http.get("/api/v1/adapters", params={"refresh": True}).status_code == 200


def outcome(studio: RunningStudio, *rows: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The job when it is over, or the refusal: `{"error": …}`."""
    answer = studio.http.post("/api/v1/jobs", json={**FEW, **fields, "adapters": list(rows)})
    if answer.status_code != 202:
        assert 400 <= answer.status_code < 500, answer.text
        return dict(answer.json())
    return studio.finished(answer.json()["id"])


def pixels(studio: RunningStudio, job: dict[str, Any]) -> bytes:
    assert job["status"] == "done", job
    return Image.open(io.BytesIO(studio.http.get(job["images"][0]["url"]).content)).convert("RGB").tobytes()


@pytest.mark.parametrize("name", list(BAD))
def test_each_bad_file_has_one_sentence_and_the_next_picture_is_made(
    name: str, studio: RunningStudio, folder: Path
) -> None:
    error = outcome(studio, {"name": "good"}, {"name": f"bad-{name}"})["error"]
    assert error["code"] == BAD[name][1], error
    assert error["message"].endswith(".")
    assert "\n" not in error["message"]
    assert "Traceback" not in str(error)
    assert f"bad-{name}" in error["message"], "it names the file"
    assert outcome(studio, {"name": "good"})["status"] == "done"


def test_an_alpha_that_is_missing_or_half_a_number_is_none_the_worse(studio: RunningStudio, folder: Path) -> None:
    """`write_lora` has alpha = rank, which a missing one stands for."""
    alphas: dict[str, Callable[[dict[str, torch.Tensor]], None]] = {
        "whole": lambda tensors: None,
        "missing": lambda tensors: [tensors.pop(name) for name in list(tensors) if name.endswith(".alpha")] and None,
        "half": lambda tensors: tensors.update(
            {name: tensor.half() for name, tensor in tensors.items() if name.endswith(".alpha")}
        ),
    }
    for name, change in alphas.items():
        changed(folder / f"alpha-{name}.safetensors", change)
    refresh(studio)
    found = {name: pixels(studio, outcome(studio, {"name": f"alpha-{name}"})) for name in alphas}
    assert found["whole"] == found["missing"] == found["half"]
    assert found["whole"] != pixels(studio, outcome(studio))


@pytest.mark.parametrize("weight", [1e9, -1e9, 10.5])
def test_an_enormous_weight(weight: float, studio: RunningStudio, folder: Path) -> None:
    error = outcome(studio, {"name": "good", "unet_weight": weight})["error"]
    assert error["code"] == "adapter_weight_out_of_range"
    assert "from −10 to 10" in error["message"]


def test_weights_that_are_no_numbers_are_refused(studio: RunningStudio, folder: Path) -> None:
    body = '{"prompt": "a fox", "adapters": [{"name": "good", "unet_weight": NaN}]}'
    answer = studio.http.post("/api/v1/jobs", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422, answer.text


def test_fifty_at_once(studio: RunningStudio, folder: Path) -> None:
    for seed in range(50):
        write_lora(folder / "fifty" / f"f{seed:02}.safetensors", seed=seed)
    refresh(studio)
    rows = [{"name": f"f{seed:02}", "unet_weight": 0.1} for seed in range(50)]
    job = outcome(studio, *rows)
    assert job["status"] == "done", job
    assert len(job["spec"]["adapters"]) == 50
    assert pixels(studio, job) != pixels(studio, outcome(studio, *rows[:1]))


def test_two_files_of_one_name(studio: RunningStudio, folder: Path) -> None:
    for seed, inner in enumerate(("a", "b")):
        write_lora(folder / inner / "same.safetensors", seed=seed, metadata={"ss_output_name": "trainers_name"})
    refresh(studio)
    job = outcome(studio, {"name": "same"})
    said = [notice["message"] for notice in job["notices"] if "called" in notice["message"]]
    assert said == ["2 files are called “same”: bad/a/same.safetensors was taken. For the other write “b/same”."]
    other = outcome(studio, {"name": "b/same"})
    assert not [notice for notice in other["notices"] if "called" in notice["message"]]
    assert pixels(studio, job) != pixels(studio, other)
    error = outcome(studio, {"name": "trainers_name"})["error"]
    assert (error["code"], "b/same" in error["hint"]) == ("adapter_unknown", True)


def test_a_file_that_goes_or_changes_while_it_is_used(studio: RunningStudio, folder: Path) -> None:
    path = write_lora(folder / "changing.safetensors", seed=3)
    refresh(studio)
    row = {"name": "changing"}
    before = pixels(studio, outcome(studio, row, steps=30))
    running = studio.http.post("/api/v1/jobs", json={**FEW, "steps": 30, "adapters": [row]}).json()["id"]
    for _ in range(600):
        if studio.http.get(f"/api/v1/jobs/{running}").json()["progress"]["step"]:
            break
        time.sleep(0.01)
    write_lora(path, seed=4)
    assert pixels(studio, studio.finished(running)) == before, "what was read belongs to the picture"
    after = pixels(studio, outcome(studio, row, steps=30))
    assert after != before, "the next one sees the new file"
    path.unlink()
    error = outcome(studio, row)["error"]
    assert error["code"] in ("model_file_missing", "adapter_unknown")
    assert "changing" in error["message"]
    assert outcome(studio, {"name": "good"})["status"] == "done"
