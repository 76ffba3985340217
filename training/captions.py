"""Captions: English phrases that say what is in a picture, in which colour and style, on which background."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from training.errors import RecipeError

PREFIXES = (
    "a picture of",
    "an image of",
    "a drawing of",
    "an illustration of",
    "an icon of",
    "an emoji of",
    "a photo of",
)
STYLE_NOUNS = {"3d render": "3d render", "glossy 3d": "glossy 3d render", "cartoon": "cartoon drawing",
               "shaded cartoon": "shaded cartoon", "flat": "flat icon", "flat vector": "flat vector icon"}  # fmt: skip
UNKNOWN = "unknown"
"""A word outside the learnt vocabulary; the text encoder meets it so that it learns to pass over strange words."""

_PLURAL = ("cherries", "grapes", "pancakes", "fries", "headphones", "glasses", "scissors", "flowers")
_UNCOUNTED = (
    "bread", "cheese", "popcorn", "sushi", "chocolate", "honey", "milk", "coffee", "tea", "wine", "beer", "rain",
    "fire", "lightning", "corn", "broccoli", "thumbs up", "santa claus", "santa", "saturn", "earth", "ice cream",
)  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """One thing: a name, and a colour word or ""."""

    name: str
    colour: str = ""


@dataclass(frozen=True)
class Scene:
    """What one training picture shows. `style` and `background` may be "" (not said)."""

    subjects: tuple[Subject, ...]
    style: str = ""
    background: str = ""


def with_article(words: str) -> str:
    """ "owl" → "an owl"; plural and uncountable words stay bare."""
    last = words.split()[-1] if words else ""
    if not words or last in _PLURAL or any(words == word or words.endswith(" " + word) for word in _UNCOUNTED):
        return words
    return f"{'an' if words[0] in 'aeiou' and not words.startswith(('uni', 'ufo')) else 'a'} {words}"


def describe(subject: Subject) -> str:
    """ "cat", or "blue car". Raises `RecipeError` for an empty name."""
    if not subject.name.strip():
        raise RecipeError("A caption is empty.", "Every concept needs at least one word.")
    return f"{subject.colour} {subject.name}".strip()


def plain_caption(scene: Scene) -> str:
    """The usual caption: "a red car and a cat, flat, on a blue background"."""
    if not scene.subjects:
        raise RecipeError("A caption is empty.", "Every picture needs at least one subject.")
    parts = [" and ".join(with_article(describe(subject)) for subject in scene.subjects)]
    if scene.style:
        parts.append(scene.style)
    text = ", ".join(parts)
    if scene.background:
        text += f"{',' if scene.style else ''} on {with_article(scene.background)} background"
    return text


def varied_caption(scene: Scene, rng: np.random.Generator, unknown_words: float = 0.0) -> str:
    """One of the many ways to say the same. `unknown_words`: the share that gets one to three strange words."""
    if not scene.subjects:
        raise RecipeError("A caption is empty.", "Every picture needs at least one subject.")
    bare = rng.random() < 0.3
    things = [describe(subject) if bare else with_article(describe(subject)) for subject in scene.subjects]
    text = " and ".join(things)
    tail = []
    if scene.style:
        way = rng.random()
        if way < 0.5:
            tail.append(scene.style)
        elif way < 0.75:
            text = f"{with_article(STYLE_NOUNS.get(scene.style, scene.style))} of {text}"
        else:
            text = f"{scene.style} {' and '.join(describe(subject) for subject in scene.subjects)}"
            text = text if bare else with_article(text)
    elif rng.random() < 0.15:
        text = f"{PREFIXES[rng.integers(len(PREFIXES))]} {text}"
    if scene.background:
        words = f"{scene.background} background"
        if rng.random() < 0.65:
            text += f" on {with_article(words)}"
        else:
            tail.append(words)
    if unknown_words and rng.random() < unknown_words:
        strange = " ".join([UNKNOWN] * int(rng.integers(1, 4)))
        if rng.random() < 0.7:
            tail.append(strange)
        else:
            text = f"{strange} {text}"
    if len(tail) > 1 and rng.random() < 0.5:
        tail.reverse()
    return ", ".join([text, *tail])


def caption_words(names: Iterable[str], styles: Iterable[str], colours: Iterable[str]) -> list[str]:
    """Every text whose tokens can occur in a caption, for collecting the learnt vocabulary."""
    fixed = ["a an and of on the background , white with in", *PREFIXES, *STYLE_NOUNS.values()]
    return [*fixed, *names, *styles, *colours]
