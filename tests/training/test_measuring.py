"""Hints, colours, the loop and the settings: the parts that measurements and trainings stand on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.training.toy import ADAPTERS, write_recipe
from training.adapters.config import ClassifierConfig, Course, read_adapters
from training.adapters.hints import canny_lines, hint_of, line_agreement, scribble_lines
from training.adapters.loop import run_course
from training.config import read_recipe
from training.data.compose import BACKGROUNDS, on_background
from training.data.concepts import Concepts
from training.data.icon_names import icons_by_slug
from training.data.pictures import Pictures
from training.device import choose_device
from training.errors import RecipeError
from training.evaluation.colours import colour_prompts, dominant_hue, is_colour, share_on_ground
from training.evaluation.documents import LIMIT, save_png
from training.evaluation.judge import train_judge


def disc(colour: tuple[int, int, int], radius: int = 20) -> np.ndarray:
    down, across = np.mgrid[:64, :64]
    picture = np.full((64, 64, 3), 255, np.uint8)
    picture[(down - 32) ** 2 + (across - 32) ** 2 < radius**2] = colour
    return picture


def test_lines_follow_the_outline_and_agree_with_themselves() -> None:
    for lines in (canny_lines(disc((200, 30, 30))), scribble_lines(disc((200, 30, 30)))):
        down, across = np.nonzero(lines)
        away = np.sqrt((down - 32.0) ** 2 + (across - 32.0) ** 2)
        assert len(away) > 60
        assert np.abs(away - 20).max() < 3
        assert line_agreement(lines, lines) == 1.0
    apart = line_agreement(canny_lines(disc((200, 30, 30))), canny_lines(disc((200, 30, 30), 10)))
    assert apart < 0.1


def test_scribbles_are_thick_and_rough_only_with_chance() -> None:
    picture = disc((20, 90, 200))
    smooth = hint_of("scribble", picture)
    assert np.array_equal(smooth, hint_of("scribble", picture))
    rough = hint_of("scribble", picture, np.random.default_rng(1))
    assert not np.array_equal(smooth, rough)
    assert smooth.shape == (64, 64, 3)
    assert set(np.unique(smooth)) == {0, 255}
    assert (smooth > 0).sum() > 2 * 3 * scribble_lines(picture).sum()


def test_an_empty_picture_has_no_lines() -> None:
    blank = np.full((64, 64, 3), 255, np.uint8)
    assert not canny_lines(blank).any()
    assert not scribble_lines(blank).any()
    assert line_agreement(canny_lines(blank), canny_lines(blank)) == 1.0
    assert line_agreement(canny_lines(blank), canny_lines(disc((0, 0, 0)))) == 0.0


def test_colour_words_are_told_apart() -> None:
    assert is_colour(disc((220, 30, 30)), "red")
    assert is_colour(disc((40, 90, 220)), "blue")
    assert not is_colour(disc((40, 90, 220)), "green")
    assert dominant_hue(disc((120, 120, 120))) is None
    assert not is_colour(disc((120, 120, 120)), "red")


def test_a_ground_is_told_by_the_corners() -> None:
    orange = np.full((64, 64, 3), BACKGROUNDS["orange"], np.uint8)
    spotted = orange.copy()
    spotted[20:44, 20:44] = 0
    assert share_on_ground(np.stack([orange, spotted]), BACKGROUNDS["orange"]) == 1.0
    assert share_on_ground(np.stack([orange, disc((245, 150, 60))]), BACKGROUNDS["orange"]) == 0.5
    assert share_on_ground(orange[None], BACKGROUNDS["yellow"]) == 0.0


class SameAgain:
    """An autoencoder that gives back what it got."""

    def encode(self, pictures: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(latents=pictures)

    def decode(self, latents: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(sample=latents)


def test_the_judge_tells_things_and_styles_that_it_never_saw_together(tmp_path: Path) -> None:
    """Ten shapes in three looks; a fifth of the (shape, look) pairs is kept from it."""
    recipe = read_recipe(write_recipe(tmp_path))
    recipe = replace(recipe, data=replace(recipe.data, size=32, sets=("full", "thin")))
    slugs = [f"shape-{number}" for number in range(10)]
    looks = {"full": (255, (200, 40, 40)), "thin": (90, (40, 60, 200)), "dark": (255, (30, 30, 30))}
    sets = {}
    for look, (alpha, colour) in looks.items():
        rgba = np.zeros((10, 32, 32, 4), np.uint8)
        for number in range(10):
            width, height = 6 + 2 * (number % 5), 6 + 12 * (number // 5)
            rgba[number, 16 - height // 2 : 16 + height // 2, 16 - width // 2 : 16 + width // 2] = (*colour, alpha)
        sets[look] = Pictures(tuple(slugs), rgba)
    concepts = Concepts({slug: (slug,) for slug in slugs[:8]}, (), ())
    config = ClassifierConfig(Course(150, 24, 1e-2), width=8, held_out=0.2)
    judge = train_judge(config, recipe, tmp_path, concepts, sets, SameAgain(), choose_device("cpu"))
    assert judge.numbers["held_out"] >= 3
    assert judge.numbers["real_style"] >= 0.8
    assert judge.numbers["real_thing_in_5"] >= 0.8
    assert judge.numbers["tripped_style_of_own"] >= 0.8
    drawn = np.stack([on_background(sets["full"].rgba[0], BACKGROUNDS["white"])] * 2)
    things, styles = judge.read(drawn)
    assert things.shape == (2, 8)
    assert np.allclose(things.sum(1), 1, atol=1e-5)
    assert np.allclose(styles.sum(1), 1, atol=1e-5)
    asked = [("full", slugs[0]), ("dark", slugs[0])]
    assert judge.score(drawn, asked)["style"] == 0.5
    assert judge.style_among(drawn, asked[:1] * 2, ("full", "thin")) == 1.0
    assert judge.style_among(drawn, [("thin", slugs[0])] * 2, ("full", "thin")) == 0.0


def test_colour_prompts_are_different_and_leave_coloured_names_out() -> None:
    prompts = colour_prompts(["car", "red apple", "fish"], ["red", "blue"], 4, 1)
    assert len(set(prompts)) == 4
    assert all("apple" not in prompt for prompt, _ in prompts)


def test_icons_are_found_by_their_letters_and_by_exceptions() -> None:
    found = icons_by_slug("fxemoji", ["redapple", "sliceofpizza", "cat-1"], ["red_apple", "pizza", "cat", "dog"])
    assert found == {"red_apple": "redapple", "pizza": "sliceofpizza", "cat": "cat-1"}


def train(path: Path, course: Course, settings: dict[str, int], wrong: bool = False) -> tuple[nn.Parameter, dict]:
    value = nn.Parameter(torch.zeros(3))

    def loss_of(batch: int, rng: np.random.Generator) -> torch.Tensor:
        return (value - 1).square().sum() * (float("nan") if wrong else 1.0)

    return value, run_course("toy", course, [value], loss_of, path, settings, 1)


def test_the_loop_learns_keeps_goes_on_and_stops(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    value, numbers = train(path, Course(60, 1, 0.1, warmup=1), {"a": 1})
    assert numbers["steps"] == 60
    assert (value - 1).abs().max() < 0.1
    again, numbers = train(path, Course(60, 1, 0.1, warmup=1), {"a": 1})
    assert numbers["steps"] == 60
    assert torch.equal(again, value)
    _, numbers = train(path, Course(70, 1, 0.1, warmup=1), {"a": 1})
    assert numbers["steps"] == 70
    with pytest.raises(RecipeError, match=r"another configuration \(a differ\)"):
        train(path, Course(70, 1, 0.1), {"a": 2})


def test_a_loss_that_is_no_number_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no longer a number"):
        train(tmp_path / "a.pt", Course(5, 1, 0.1), {}, wrong=True)
    assert not list(tmp_path.iterdir())


def test_minutes_end_a_course(tmp_path: Path) -> None:
    _, numbers = train(tmp_path / "a.pt", Course(10**9, 1, 0.1, minutes=0.003), {})
    assert 0 < numbers["steps"] < 10**6


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('kind = "loha"', 'kind = "lokon"', "kind of toy-loha is 'lokon'"),
        ('layout = "peft"', 'layout = "pfet"', "layout of toy-peft is 'pfet'"),
        ('hint = "canny"', 'hint = "cany"', "hint of toy-canny is 'cany'"),
        ('name = "toy-dora"', 'name = "toy-lora"', "has the name 'toy-lora' twice"),
        ('name = "toy-dora"', 'name = "../x"', "no file name"),
        ("rank = 2", "rang = 2", "unknown key 'rang'"),
        ("[[lora]]", "[[lorra]]", "unknown section 'lorra'"),
        ("steps = 4", "stepps = 4", "unknown key 'stepps'"),
        ("[[lora]]", "[[lora", "not valid TOML"),
    ],
)
def test_wrong_settings_are_one_sentence(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    recipe = read_recipe(write_recipe(tmp_path))
    (tmp_path / "toy-adapters.toml").write_text(ADAPTERS.replace(old, new), encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        read_adapters(recipe)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_list_of_adapters_is_said(tmp_path: Path) -> None:
    recipe = read_recipe(write_recipe(tmp_path))
    (tmp_path / "toy-adapters.toml").unlink()
    with pytest.raises(RecipeError, match="cannot be read"):
        read_adapters(recipe)


def test_document_pictures_stay_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)
    save_png(tmp_path / "a.png", Image.fromarray(noise))
    assert (tmp_path / "a.png").stat().st_size <= LIMIT
    monkeypatch.setattr("training.evaluation.documents.LIMIT", 1000)
    with pytest.raises(RecipeError, match="larger than"):
        save_png(tmp_path / "b.png", Image.fromarray(noise))
    assert not (tmp_path / "b.png").exists()
