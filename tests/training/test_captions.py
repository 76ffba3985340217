"""Captions: articles, colour words, two objects, styles, backgrounds, strange words, and empty ones refused."""

from __future__ import annotations

import numpy as np
import pytest

from training.captions import UNKNOWN, Scene, Subject, describe, plain_caption, varied_caption, with_article
from training.errors import RecipeError


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("cat", "a cat"), ("owl", "an owl"), ("orange car", "an orange car"), ("unicorn", "a unicorn"), 
        ("ufo", "a ufo"), ("cherries", "cherries"), ("bunch of grapes", "bunch of grapes"), ("milk", "milk"), ("", ""),
    ],
)  # fmt: skip
def test_articles(words: str, said: str) -> None:
    assert with_article(words) == said


def test_colour_words_come_before_the_name() -> None:
    assert describe(Subject("car", "blue")) == "blue car"
    assert (
        plain_caption(Scene((Subject("car", "blue"),), "flat", "yellow")) == "a blue car, flat, on a yellow background"
    )


def test_two_objects_are_both_named() -> None:
    scene = Scene((Subject("apple", "red"), Subject("owl")))
    assert plain_caption(scene) == "a red apple and an owl"
    rng = np.random.default_rng(0)
    for _ in range(50):
        caption = varied_caption(scene, rng)
        assert "red apple" in caption
        assert "owl" in caption
        assert " and " in caption


def test_varied_captions_always_say_thing_style_and_background() -> None:
    rng = np.random.default_rng(1)
    scene = Scene((Subject("cat"),), "cartoon", "green")
    made = {varied_caption(scene, rng) for _ in range(200)}
    assert len(made) > 8
    assert all("cat" in caption and "cartoon" in caption and "green background" in caption for caption in made)


def test_strange_words_are_mixed_in_for_the_asked_share() -> None:
    rng = np.random.default_rng(2)
    scene = Scene((Subject("cat"),))
    share = np.mean([UNKNOWN in varied_caption(scene, rng, 0.3) for _ in range(500)])
    assert 0.2 < share < 0.4


def test_an_empty_caption_is_refused_in_one_sentence() -> None:
    for make in (
        lambda: plain_caption(Scene(())),
        lambda: describe(Subject(" ")),
        lambda: varied_caption(Scene(()), None),
    ):  # type: ignore[arg-type]
        with pytest.raises(RecipeError, match="A caption is empty"):
            make()
