"""Pictures and packages: rendering, recolouring, pairs; unreadable pictures and cut-off downloads."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("resvg", reason="the recipe's renderer is not installed: pip install -r training/requirements.txt")

from training.config import HERE, read_recipe
from training.data.compose import BACKGROUNDS, HUES, on_background, recolour, side_by_side
from training.data.concepts import read_concepts
from training.data.fetch import unpack_package
from training.data.render import read_bitmap, render_svg
from training.data.sets import SETS, code_points
from training.errors import RecipeError

DISC = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="7" fill="#d22"/></svg>'


def test_an_svg_fills_the_asked_size_and_keeps_its_alpha() -> None:
    picture = render_svg(DISC, 32)
    assert picture.shape == (32, 32, 4)
    assert tuple(picture[16, 16]) == (0xDD, 0x22, 0x22, 255)
    assert picture[0, 0, 3] == 0


def test_backgrounds_show_through_the_alpha() -> None:
    picture = on_background(render_svg(DISC, 32), BACKGROUNDS["blue"])
    assert tuple(picture[0, 0]) == BACKGROUNDS["blue"]


@pytest.mark.parametrize("colour", list(HUES))
def test_recolouring_gives_the_named_hue(colour: str) -> None:
    red, green, blue = (int(value) for value in recolour(render_svg(DISC, 32), colour)[16, 16, :3])
    strongest = {"red": red, "green": green, "blue": blue}
    wanted = {
        "red": "red",
        "orange": "red",
        "yellow": "red",
        "green": "green",
        "blue": "blue",
        "purple": "blue",
        "pink": "red",
    }
    assert max(strongest, key=strongest.__getitem__) == wanted[colour]


def test_two_objects_stand_side_by_side() -> None:
    pair = side_by_side(render_svg(DISC, 32), recolour(render_svg(DISC, 32), "blue"))
    assert pair.shape == (32, 32, 4)
    assert pair[16, 8, 0] > pair[16, 8, 2]
    assert pair[16, 24, 2] > pair[16, 24, 0]


def test_unreadable_pictures_are_named(tmp_path: Path) -> None:
    (tmp_path / "half.webp").write_bytes(b"RIFF")
    with pytest.raises(RecipeError, match=r"The picture half\.webp cannot be read"):
        read_bitmap(tmp_path / "half.webp", 16)
    with pytest.raises(RecipeError, match="thing is not an SVG picture"):
        render_svg("plain words", 16, "thing")
    with pytest.raises(RecipeError, match="cannot be drawn"):
        render_svg("<svg viewBox='0 0 4 4'><g></svg>", 16, "thing")


def test_a_cut_off_download_leaves_nothing(tmp_path: Path) -> None:
    source = tmp_path / "package"
    source.mkdir()
    (source / "package.json").write_text('{"version": "1"}' + " " * 4000, encoding="utf-8")
    whole = tmp_path / "whole.tgz"
    with tarfile.open(whole, "w:gz") as packed:
        packed.add(source, "package")
    unpack_package(whole, tmp_path / "modules" / "name")
    assert (tmp_path / "modules" / "name" / "package.json").exists()
    cut = tmp_path / "cut.tgz"
    cut.write_bytes(whole.read_bytes()[:60])
    with pytest.raises(RecipeError, match=r"cut\.tgz is damaged or cut off"):
        unpack_package(cut, tmp_path / "modules" / "other")
    assert sorted(path.name for path in (tmp_path / "modules").iterdir()) == ["name"]


def test_code_points_drop_variation_selectors() -> None:
    assert code_points("\u2764\ufe0f") == "2764"


RECIPES = sorted(path for path in (HERE / "configs").glob("*.toml") if not path.stem.endswith("-adapters"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_is_sound(path: Path) -> None:
    recipe = read_recipe(path)
    concepts = read_concepts(recipe.concepts_path(), recipe.data.only)
    assert len(recipe.data.sets) == len(recipe.data.weights)
    assert all(key in SETS for key in recipe.data.sets)
    assert set(recipe.data.backgrounds) <= set(BACKGROUNDS)
    assert set(concepts.colours) <= set(HUES)


def test_a_wrong_key_and_an_empty_word_are_named(tmp_path: Path) -> None:
    text = (HERE / "configs" / "starter.toml").read_text(encoding="utf-8")
    (tmp_path / "a.toml").write_text(text.replace("[data]", "[data]\nsized = 3"), encoding="utf-8")
    with pytest.raises(RecipeError, match=r"a.toml \[data\] has an unknown key 'sized'"):
        read_recipe(tmp_path / "a.toml")
    (tmp_path / "c.toml").write_text('[concepts]\ncat = [""]\n', encoding="utf-8")
    with pytest.raises(RecipeError, match=r"'cat' in c\.toml has an empty caption"):
        read_concepts(tmp_path / "c.toml")
    assert np.isfinite(recipe_rate(tmp_path, text))


def recipe_rate(folder: Path, text: str) -> float:
    (folder / "b.toml").write_text(text, encoding="utf-8")
    return read_recipe(folder / "b.toml").base.rate
