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
    work, model, grid = tmp_path / "work", tmp_path / "model", tmp_path / "grid.png"
    write_packages(work / "packages" / "node_modules")
    write_toy_tokenizer(work / "clip_tokenizer")
    common = ["--recipe", str(write_recipe(tmp_path)), "--work", str(work), "--to", str(model), "--grid", str(grid)]
    common += ["--device", "cpu"]

    for step in ("data", "autoencoder", "base", "decoder", "export", "grid", "evaluate"):
        assert main([step, *common]) == 0, capsys.readouterr().err

    assert grid.stat().st_size > 1000
    assert "Toy" in (model / "README.md").read_text(encoding="utf-8")
    listed = (model / "LICENCES.md").read_text(encoding="utf-8")
    for path in model.rglob("*"):
        if path.is_file():
            assert f"`{path.relative_to(model).as_posix()}`" in listed

    before = (work / "toy" / "base.pt").read_bytes()
    assert main(["base", *common]) == 0
    assert (work / "toy" / "base.pt").read_bytes() == before  # finished: nothing is done again

    longer = tmp_path / "toy.toml"
    longer.write_text(longer.read_text(encoding="utf-8").replace("steps = 30", "steps = 34"), encoding="utf-8")
    assert main(["base", *common]) == 0
    assert '"steps": 34' in capsys.readouterr().out

    longer.write_text(
        longer.read_text(encoding="utf-8").replace("levels = [16, 16]", "levels = [16, 24]"), encoding="utf-8"
    )
    assert main(["base", *common]) == 1
    assert "another configuration (levels differ)" in capsys.readouterr().err
