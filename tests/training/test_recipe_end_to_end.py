"""The whole recipe at toy size, offline: render, autoencoder, base, export, grid, evaluate; stopped and resumed."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

pytest.importorskip("resvg", reason="the recipe's renderer is not installed: pip install -r training/requirements.txt")

from tests.training.toy import TOY_SET, write_packages, write_recipe, write_toy_tokenizer
from training.cli import main
from training.data import sets


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the recipe reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_whole_recipe_makes_a_model_that_plain_diffusers_draws_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: None, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sets.SETS, TOY_SET.key, TOY_SET)
    monkeypatch.setattr("training.data.fetch.fetch_packages", lambda *_: None)
    work, model, grid, docs = tmp_path / "work", tmp_path / "model", tmp_path / "grid.png", tmp_path / "docs"
    write_packages(work / "packages" / "node_modules")
    write_toy_tokenizer(work / "clip_tokenizer")
    common = ["--recipe", str(write_recipe(tmp_path)), "--work", str(work), "--to", str(model), "--grid", str(grid)]
    common += ["--device", "cpu", "--docs", str(docs)]

    for step in ("data", "autoencoder", "base", "decoder", "export", "grid"):
        assert main([step, *common]) == 0, capsys.readouterr().err
    assert grid.stat().st_size > 1000
    before = (work / "toy" / "base.pt").read_bytes()
    assert main(["base", *common]) == 0
    assert (work / "toy" / "base.pt").read_bytes() == before  # finished: nothing is done again

    for step in ("lora", "controlnet", "evaluate", "gallery", "papers"):
        assert main([step, *common]) == 0, capsys.readouterr().err
    loras = sorted(path.name for path in (model / "loras").iterdir())
    names = ("toy-dora", "toy-loha", "toy-lokr", "toy-lora", "toy-peft")
    assert loras == sorted(f"{name}.{ending}" for name in names for ending in ("json", "png", "safetensors"))
    assert (docs / "styles.png").exists()
    assert (docs / "controlnet.png").exists()
    told = (model / "controlnet" / "toy-canny" / "easel.toml").read_text(encoding="utf-8")
    assert "weight = 1.1\nweight_low = 0.9\nweight_high = 1.3\n" in told
    assert "weight" not in (model / "controlnet" / "toy-scribble" / "easel.toml").read_text(encoding="utf-8")
    assert_other_tools_read_what_was_trained(model)
    card = (model / "README.md").read_text(encoding="utf-8")
    for words in ("Toy", "toy-word", "ControlNet", "toy-dora", "Measured"):
        assert words in card
    listed = (model / "LICENCES.md").read_text(encoding="utf-8")
    for path in model.rglob("*"):
        if path.is_file():
            assert f"`{path.relative_to(model).as_posix()}`" in listed

    capsys.readouterr()
    assert main(["evaluate", *common]) == 0
    assert "measured:" not in capsys.readouterr().out  # nothing has changed: nothing is measured again
    learnt = (work / "toy" / "adapters" / "toy-lora.pt").read_bytes()
    assert main(["lora", "--only", "toy-lora", *common]) == 0
    assert (work / "toy" / "adapters" / "toy-lora.pt").read_bytes() == learnt
    assert main(["lora", "--only", "toy-none", *common]) == 1
    assert "nothing called 'toy-none'" in capsys.readouterr().err

    adapters = tmp_path / "toy-adapters.toml"
    longer = adapters.read_text(encoding="utf-8").replace("steps = 4, batch = 4", "steps = 6, batch = 4")
    adapters.write_text(longer, encoding="utf-8")
    assert main(["lora", "--only", "toy-lora", *common]) == 0
    assert '"steps": 6' in capsys.readouterr().out
    adapters.write_text(longer.replace("rank = 2", "rank = 3"), encoding="utf-8")
    assert main(["lora", "--only", "toy-lora", *common]) == 1
    assert "another configuration (rank differ)" in capsys.readouterr().err

    recipe = tmp_path / "toy.toml"
    recipe.write_text(recipe.read_text(encoding="utf-8").replace("steps = 30", "steps = 34"), encoding="utf-8")
    assert main(["base", *common]) == 0
    assert '"steps": 34' in capsys.readouterr().out
    recipe.write_text(
        recipe.read_text(encoding="utf-8").replace("levels = [16, 16]", "levels = [16, 24]"), encoding="utf-8"
    )
    assert main(["base", *common]) == 1
    assert "another configuration (levels differ)" in capsys.readouterr().err


def assert_other_tools_read_what_was_trained(model: Path) -> None:
    """kohya files: diffusers and LyCORIS, two tools that we did not write, find the same change of the weights."""
    import torch

    from training.evaluation.reference import _by_diffusers, deltas_of
    from training.export import load_pipeline

    pipeline = load_pipeline(model)
    for name in ("toy-lora",):  # diffusers leaves the magnitudes of DoRA files out
        file = model / "loras" / f"{name}.safetensors"
        ours = {key: value for key, value in deltas_of(file, pipeline).items() if key[0] == "unet"}
        theirs = _by_diffusers(file, pipeline)
        moved = {key for key, value in ours.items() if value.abs().max() > 1e-5}
        assert moved
        assert moved <= set(theirs)
        for key in moved:
            assert torch.allclose(ours[key], theirs[key], atol=2e-5), (name, key)
