"""Which weights suit a ControlNet: its type's, and what its side file says instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.library.control_types import OTHER, control_type
from engine.library.control_weights import suited_weights
from engine.library.controlnets import ControlShelf
from engine.library.library import Library
from engine.protocol.controls import ControlNetView
from engine.protocol.library import AdvisedWeights
from engine.store.store import open_store
from tests.support.studio_data import TINY, make_settings
from tests.support.tiny_models import write_single_controlnet, write_tiny_controlnet


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, (0.5, 0.3, 0.7)),
        ({"weight": 1.2, "low": 0.8, "high": 1.5}, (1.2, 0.8, 1.5)),
        ({"low": 0.8, "high": 1.5}, (1.15, 0.8, 1.5)),
        ({"weight": 1.0}, (1.0, 0.3, 1.0)),
        ({"weight": 0.4}, (0.4, 0.3, 0.7)),
        ({"low": 0.9}, (0.9, 0.9, 0.9)),
        ({"high": 0.2}, (0.2, 0.2, 0.2)),
        ({"low": 0.0, "high": 2.0}, (1.0, 0.0, 2.0)),
    ],
)
def test_what_the_side_file_says_comes_before_the_type(
    said: dict[str, float], expected: tuple[float, float, float]
) -> None:
    found = suited_weights(control_type("scribble"), AdvisedWeights(**said))
    assert (found.weight, found.low, found.high) == expected
    assert found.remark == ""


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"weight": -1.0}, "weight = -1"),
        ({"high": 7.0}, "weight_high = 7"),
        ({"low": 1.5, "high": 0.5}, "weight_low = 1.5 above weight_high = 0.5"),
    ],
)
def test_numbers_that_no_unit_may_have_are_left_out_and_told(said: dict[str, float], words: str) -> None:
    found = suited_weights(OTHER, AdvisedWeights(**said))
    assert (found.weight, found.low, found.high) == (0.75, 0.5, 1.0)
    assert words in found.remark
    assert found.remark.endswith(".")


def test_side_files_of_folders_and_files_are_read(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    folder = settings.models_dir / "controlnet"
    model = settings.models_dir / "checkpoints" / TINY
    made = write_tiny_controlnet(folder / "tiny-scribble", model, seed=1)
    (made / "easel.toml").write_text('name = "Mine"\nweight = 1.2\nweight_low = 0.8\nweight_high = 1.5\n')
    write_single_controlnet(made, folder / "one-canny.safetensors")
    (folder / "one-canny.easel.toml").write_text("weight = 1\nweight_high = 3\n")
    write_tiny_controlnet(folder / "plain-canny", model, seed=2)
    broken = write_tiny_controlnet(folder / "odd-depth", model, seed=3)
    (broken / "easel.toml").write_text("weight = \n")
    views = {view.id: view for view in ControlShelf(Library(settings, open_store(settings.state_dir).library)).views()}
    assert (views["tiny-scribble"].title, views["tiny-scribble"].remark) == ("Mine", "")
    assert weights(views["tiny-scribble"]) == (1.2, 0.8, 1.5)
    assert weights(views["one-canny"]) == (1.0, 0.5, 1.0), "a weight of 1 is not “nothing said”"
    assert "weight_high = 3" in views["one-canny"].remark
    assert weights(views["plain-canny"]) == (0.75, 0.5, 1.0)
    assert "easel.toml" in views["odd-depth"].remark
    assert views["odd-depth"].problem == "", "it works all the same"


def test_the_starters_controlnets_say_which_weights_suit_them(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    views = {view.id: view for view in ControlShelf(Library(settings, open_store(settings.state_dir).library)).views()}
    for name in ("easel-canny", "easel-scribble"):
        assert weights(views[name]) == (1.2, 0.8, 1.5)


def weights(view: ControlNetView) -> tuple[float, float, float]:
    return view.weight, view.low, view.high
