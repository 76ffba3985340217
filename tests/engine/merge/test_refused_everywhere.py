"""Bad input over REST and on the command line: the same code, one sentence, and no file of it anywhere."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from engine.cli.merge import main
from engine.families.families import family
from engine.library.headers import read_header
from engine.merge.bases import targets_of_family
from tests.engine.adapters.making import dora, lora, write_adapter
from tests.support.adapter_files import cover
from tests.support.running_studio import RunningStudio, running_studio

PLACE = ("unet", "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q")
TOLD = {"sd1": "sd_v1", "sdxl": "sdxl_base_v1-0"}


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStudio]:
    """With adapters of one layer, of the usual shapes of their families."""
    folder = tmp_path_factory.mktemp("studio")
    with running_studio(folder) as running:
        loras = running.settings.models_dir / "loras"
        loras.mkdir(parents=True, exist_ok=True)
        makers = {"one": ("sd1", lora), "two": ("sd1", lora), "turned": ("sd1", dora), "large": ("sdxl", lora)}
        for seed, (name, (family_id, make)) in enumerate(makers.items()):
            targets = targets_of_family(family(family_id))
            key = next(key for key in targets.modules if key == PLACE or (family_id == "sdxl" and "to_q" in key[1]))
            path = loras / f"{name}.safetensors"
            write_adapter(path, targets, make, seed=seed, choose=lambda each, key=key: each == key)
            save_file(load_file(path), path, metadata={"ss_base_model_version": TOLD[family_id]})
        broken = load_file(loras / "two.safetensors")
        next(value for name, value in broken.items() if "lora_up" in name)[0, 0] = float("nan")
        save_file(broken, loras / "broken.safetensors", metadata={"ss_base_model_version": "sd_v1"})
        (loras / "taken.safetensors").write_bytes((loras / "one.safetensors").read_bytes())
        running.http.get("/api/v1/adapters?refresh=true").raise_for_status()
        yield running


def recipe(*names: str, weights: tuple[float, ...] = (1.0, 1.0), **more: Any) -> dict[str, Any]:
    inputs = [{"name": name, "weight": weight} for name, weight in zip(names, weights, strict=False)]
    return {"task": "merge", "inputs": inputs, **more}


CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "families": (recipe("one", "large"), "made", "merge_families_differ"),
    "twice": (recipe("one", "one"), "made", "merge_twice"),
    "nothing": (recipe(), "made", "merge_inputs_missing"),
    "zero": (recipe("one", "two", weights=(0.0, 0.0)), "made", "merge_weights_zero"),
    "sum of zero": (recipe("one", "two", weights=(1.0, -1.0), normalise=True), "made", "merge_weights_zero"),
    "a weight that is no number": (recipe("one", weights=(float("nan"),)), "made", "bad_request"),
    "values that are no numbers": (recipe("one", "broken"), "made", "adapter_not_finite"),
    "rank 0": (
        recipe("one", method="svd", target={"reduction": {"rule": "rank", "rank": 0}}),
        "made",
        "merge_rank_out_of_range",
    ),
    "a rank above the full one": (
        recipe("one", method="svd", target={"reduction": {"rule": "rank", "rank": 321}}),
        "made",
        "merge_rank_out_of_range",
    ),
    "DoRA without its base": (recipe("one", "turned"), "made", "merge_base_needed"),
    "a name that is taken": (recipe("one", "two"), "taken", "merge_name_taken"),
    "no such method": (recipe("one", "two", method="blend"), "made", "merge_method_unknown"),
    "no such adapter": (recipe("one", "nobody"), "made", "adapter_unknown"),
    "no such model": (recipe("one", "two", base="nobody"), "made", "model_unknown"),
    "no such blocks": (
        {"task": "merge", "inputs": [{"name": "one", "blocks": [1.0, 0.5]}]},
        "made",
        "adapter_blocks_unknown",
    ),
}


def ask(studio: RunningStudio, asked: dict[str, Any], name: str) -> dict[str, Any]:
    """The error of a merge, of the answer or of its job."""
    # NaN is no JSON, but Python's reader and others take it.
    body = json.dumps({"recipe": asked, "file_name": name})
    answer = studio.http.post("/api/v1/merges", content=body, headers={"Content-Type": "application/json"})
    if answer.status_code == 202:
        studio.finished(answer.json()["id"])
        view = studio.http.get(f"/api/v1/merges/{answer.json()['id']}").json()
        assert view["status"] == "failed", view
        return dict(view["error"])
    assert answer.status_code in (404, 409, 422), answer.text
    return dict(answer.json()["error"])


def files(studio: RunningStudio) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted((studio.settings.models_dir / "loras").iterdir())}


@pytest.mark.parametrize("case", list(CASES))
def test_rest_refuses_it(case: str, studio: RunningStudio) -> None:
    asked, name, code = CASES[case]
    before = files(studio)
    error = ask(studio, asked, name)
    assert error["code"] == code, error
    assert error["message"].endswith(".")
    assert files(studio) == before


@pytest.mark.parametrize("case", list(CASES))
def test_the_command_line_refuses_it(case: str, studio: RunningStudio, tmp_path: Path, capsys) -> None:
    asked, name, code = CASES[case]
    path = tmp_path / "asked.json"
    path.write_text(json.dumps(asked))
    before = files(studio)
    loras = studio.settings.models_dir / "loras"
    ended = main([str(path), "--out", str(loras / f"{name}.safetensors"), "--data", str(studio.settings.data_dir)])
    told = capsys.readouterr()
    assert ended == 1
    assert told.err.strip().endswith(f"[{code}]"), told.err
    assert told.err.strip().count("\n") == 0
    assert told.out == ""
    assert files(studio) == before


@pytest.mark.parametrize("name", ["../outside", "a/b", "a\\b", "", ".hidden", "con", "x" * 300])
def test_rest_takes_no_name_that_leads_elsewhere(name: str, studio: RunningStudio) -> None:
    before = files(studio)
    assert ask(studio, recipe("one", "two"), name)["code"] == "merge_name_invalid"
    assert files(studio) == before


def test_a_full_disk_is_one_sentence_everywhere(studio: RunningStudio, tmp_path: Path, capsys, monkeypatch) -> None:
    before = files(studio)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    assert ask(studio, recipe("one", "two"), "made")["code"] == "disk_full"
    path = tmp_path / "asked.json"
    path.write_text(json.dumps(recipe("one", "two")))
    out = studio.settings.models_dir / "loras" / "made.safetensors"
    assert main([str(path), "--out", str(out), "--data", str(studio.settings.data_dir)]) == 1
    assert "[disk_full]" in capsys.readouterr().err
    assert files(studio) == before


def test_the_command_line_makes_the_file_and_runs_the_recipe_inside_it(studio: RunningStudio, tmp_path, capsys) -> None:
    path, first, second = tmp_path / "asked.json", tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    path.write_text(json.dumps(recipe("one", "two", weights=(0.5, -0.25))))
    options = ["--data", str(studio.settings.data_dir)]
    assert main([str(path), "--out", str(first), *options]) == 0
    told = capsys.readouterr()
    assert told.out.strip() == str(first)
    assert "difference from stacking" in told.err
    # The recipe inside the file is the recipe.
    assert main([str(first), "--out", str(second), *options]) == 0
    assert {name: value.tolist() for name, value in load_file(first).items()} == {
        name: value.tolist() for name, value in load_file(second).items()
    }
    assert main([str(path), "--out", str(first), *options]) == 1
    assert main([str(path), "--out", str(first), "--replace", *options]) == 0
    path.write_text('{"task": "cook"}')
    capsys.readouterr()
    assert main([str(path), "--out", str(tmp_path / "third.safetensors"), *options]) == 1
    assert "[bad_request]" in capsys.readouterr().err


def test_a_repeated_submit_answers_the_same_merge(studio: RunningStudio) -> None:
    body = {"recipe": recipe("one", "two"), "file_name": "asked twice"}
    answers = [studio.http.post("/api/v1/merges?request_id=once", json=body) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json()["id"] == answers[1].json()["id"]
    studio.finished(answers[0].json()["id"])
    assert studio.http.delete(f"/api/v1/merges/{answers[0].json()['id']}/file").status_code == 200


@pytest.mark.parametrize(
    "details",
    [
        {"title": "x" * 201},
        {"description": "x" * 4001},
        {"trigger_words": ["ink", " "]},
        {"trigger_words": ["ink"] * 101},
        {"tags": ["x" * 501]},
        {"thumbnail": "asset:00"},
        {"thumbnail": "aGVsbG8="},
        {"thumbnail": f"data:text/html;base64,{cover()}"},
    ],
)
def test_details_that_cannot_be_are_refused_in_an_edit_and_in_a_recipe(details, studio: RunningStudio) -> None:
    before = files(studio)
    answer = studio.http.patch("/api/v1/adapters/one", json=details)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "merge_details_invalid")
    answer = studio.http.post(
        "/api/v1/merges", json={"recipe": recipe("one", "two", metadata=details), "file_name": "made"}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "merge_details_invalid")
    assert files(studio) == before


def test_a_list_of_trigger_words_stays_a_list(studio: RunningStudio) -> None:
    path = studio.settings.models_dir / "loras" / "worded.safetensors"
    path.write_bytes((studio.settings.models_dir / "loras" / "one.safetensors").read_bytes())
    studio.http.get("/api/v1/adapters?refresh=true").raise_for_status()

    def words() -> list[str]:
        return list(studio.http.get("/api/v1/adapters/worded").json()["view"]["trigger_words"])

    for given in (["foo", "bar"], ["red, round", "bar"], ["alone"], []):
        answer = studio.http.patch("/api/v1/adapters/worded", json={"trigger_words": given, "thumbnail": cover()})
        assert answer.status_code == 200, answer.text
        assert words() == answer.json()["trigger_words"] == given
    # Another program knows the phrase alone; what it wrote counts.
    studio.http.patch("/api/v1/adapters/worded", json={"trigger_words": ["foo", "bar"]}).raise_for_status()
    told = read_header(path).metadata
    assert told["modelspec.trigger_phrase"] == "foo, bar"
    save_file(load_file(path), path, metadata={**told, "modelspec.trigger_phrase": "something else"})
    studio.http.get("/api/v1/adapters?refresh=true").raise_for_status()
    assert words() == ["something else"]
    path.unlink()


def test_a_preview_has_no_number_where_errors_stand(studio: RunningStudio) -> None:
    answer = studio.http.post("/api/v1/merges/preview", json={"recipe": recipe("one", "two")}).json()
    assert "error" not in answer
    assert answer["loss"] == 0.0
    assert [choice["loss"] for choice in answer["choices"]] == [0.0, 0.0, 0.0]


def test_the_steps_of_a_merge_are_kept(studio: RunningStudio) -> None:
    """As of adapters on a stack: it merges and is active, or it ends in an error."""

    def steps(names: tuple[str, ...]) -> list[tuple[str, str, str]]:
        job = studio.http.post("/api/v1/merges", json={"recipe": recipe(*names), "file_name": "kept"}).json()["id"]
        studio.finished(job)
        with closing(sqlite3.connect(studio.settings.state_dir / "studio.db")) as db:
            rows = db.execute("SELECT payload FROM events WHERE kind = 'adapter' AND job_id = ?", (job,)).fetchall()
        studio.http.delete(f"/api/v1/merges/{job}/file")
        told = [json.loads(payload) for (payload,) in rows]
        return [(each["adapter"], step["before"], step["after"]) for each in told for step in each["steps"]]

    assert steps(("one", "two")) == [("kept", "merging", "active")]
    assert steps(("one", "broken")) == [("kept", "merging", "error")]
