"""The recipe for a large GPU, two steps a stage on the CPU: `all` in one go, with its own sizes and networks."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w

pytest.importorskip("resvg", reason="the recipe's renderer is not installed: pip install -r training/requirements.txt")

from tests.training.toy import CONCEPTS, TOY_SET, write_packages, write_toy_tokenizer
from training.cli import main
from training.config import HERE
from training.data import sets

SHIPPED = HERE / "configs" / "starter-128.toml"
UPSCALER = HERE.parent / "models" / "starter" / "upscaler"


def short(folder: Path) -> Path:
    """The shipped recipe with toy pictures and two steps a stage; what it builds stays as it is."""
    recipe: dict[str, Any] = tomllib.loads(SHIPPED.read_text(encoding="utf-8"))
    recipe["data"] |= {"concepts": "toy_concepts.toml", "sets": ["toy"], "weights": [1.0], "plain_style": "toy"}
    recipe["data"]["backgrounds"] = recipe["data"]["backgrounds"][:2]
    recipe["autoencoder"] |= {"steps": 2, "batch": 2, "decoder_steps": 2}
    recipe["base"] |= {"steps": 2, "batch": 2, "warmup": 1}
    recipe["model"] |= {"steps": 2, "examples": ["a star"], "grid": ["a star", "a disc"]}
    recipe["threads"] = 1
    adapters: dict[str, Any] = tomllib.loads((HERE / "configs" / recipe["adapters"]).read_text(encoding="utf-8"))
    for each in [*adapters["lora"], *adapters["embedding"], *adapters["controlnet"]]:
        each["course"] = {"steps": 2, "batch": 2, "rate": each["course"]["rate"]}
        if "set" in each:
            each["set"] = "toy"
    judge = adapters["evaluation"]["classifier"]
    judge["course"] = {"steps": 2, "batch": 4, "rate": judge["course"]["rate"]}
    few = {"base": 2, "adapter": 2, "sweep": 1, "colours": 3, "control": 1, "neighbours": 2, "weights": [0.0, 1.0]}
    adapters["evaluation"] |= few
    (folder / "toy_concepts.toml").write_text(CONCEPTS, encoding="utf-8")
    (folder / recipe["adapters"]).write_text(tomli_w.dumps(adapters), encoding="utf-8")
    path = folder / SHIPPED.name
    path.write_text(tomli_w.dumps(recipe), encoding="utf-8")
    return path


@pytest.mark.slow
def test_all_of_the_gpu_recipe_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sets.SETS, TOY_SET.key, TOY_SET)
    monkeypatch.setattr("training.data.fetch.fetch_packages", lambda *_: None)
    work, model, grid, docs = tmp_path / "work", tmp_path / "model", tmp_path / "grid.png", tmp_path / "docs"
    write_packages(work / "packages" / "node_modules")
    write_toy_tokenizer(work / "clip_tokenizer")
    shutil.copytree(UPSCALER, model / "upscaler")
    folders = ["--work", str(work), "--to", str(model), "--grid", str(grid), "--docs", str(docs)]
    assert main(["all", "--recipe", str(short(tmp_path)), "--device", "cpu", *folders]) == 0, capsys.readouterr().err

    from training.export import load_pipeline

    picture = load_pipeline(model)("a star", width=128, height=128, num_inference_steps=2).images[0]
    assert picture.size == (128, 128)
    assert grid.exists()
    assert {path.name for path in docs.iterdir()} >= {"styles.png", "stacked.png", "controlnet.png", "neighbours.png"}
    assert len(list((model / "loras").glob("*.safetensors"))) == 6
    assert len(list(model.glob("controlnet/*/config.json"))) == 2
    assert "128 px" in (model / "README.md").read_text(encoding="utf-8")
    assert sum(path.stat().st_size for path in model.rglob("*") if path.is_file()) < 180_000_000
