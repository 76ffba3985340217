"""The one error of the recipe: a sentence for the person at the terminal, and what to do about it."""

from __future__ import annotations


class RecipeError(Exception):
    """`sentence` says what is wrong; `hint` (may be empty) says what to do. Shown without a traceback."""

    def __init__(self, sentence: str, hint: str = "") -> None:
        self.sentence = sentence
        self.hint = hint
        super().__init__(f"{sentence} {hint}".strip())
