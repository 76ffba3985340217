"""Makes up prompts: plain Python, no Gradio, so it is easy to test."""

from __future__ import annotations

import random

THINGS = (
    "cat", "dog", "owl", "fox", "whale", "butterfly", "apple", "pineapple", "mushroom", "cactus", "sunflower",
    "rocket", "sailboat", "house", "castle", "bicycle", "guitar", "teapot", "umbrella", "crown",
)  # fmt: skip
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")
LOOKS = ("flat", "3d", "cartoon")


def idea(seed: int, mood: str = "") -> str:
    """A prompt out of a thing, a colour and a look; the same seed gives the same idea. `mood` is added at the end."""
    chance = random.Random(seed)
    prompt = f"a {chance.choice(COLOURS)} {chance.choice(THINGS)}, {chance.choice(LOOKS)}"
    return f"{prompt}, {mood.strip()}" if mood.strip() else prompt


def ideas(count: int, seed: int, mood: str = "") -> list[str]:
    """`count` different ideas."""
    found: list[str] = []
    number = seed
    while len(found) < count:
        prompt = idea(number, mood)
        number += 1
        if prompt not in found:
            found.append(prompt)
    return found
