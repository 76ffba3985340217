"""Words of prompts: whether a trigger word is there already, and what a prompt is about."""

from __future__ import annotations

import re
from collections.abc import Iterable

_TAG = re.compile(r"<[^<>]*>")
_WEIGHT = re.compile(r":\s{0,4}[+-]?(?:\d{1,8}(?:\.\d{0,8})?|\.\d{1,8})\s{0,4}(?=[)\]])")
_BRACKETS = re.compile(r"\\?[()\[\]{}]")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
# Words that say nothing about what a picture shows.
STOP_WORDS = {
    "a", "an", "the", "of", "in", "on", "at", "and", "or", "with", "by", "for", "to", "from", "as", "is", "are", "its",
    "his", "her", "their", "very", "over", "under", "into", "near", "no", "not", "break", "masterpiece", "best",
    "quality", "highly", "detailed", "detail", "ultra", "high", "resolution", "4k", "8k", "hd", "uhd",
}  # fmt: skip


def plain_words(text: str) -> str:
    """Words of a prompt in small letters with single spaces: no weights, no brackets, no tags, no punctuation."""
    text = _BRACKETS.sub(" ", _WEIGHT.sub("", _TAG.sub(" ", text)))
    return " ".join(word.casefold() for word in _WORD.findall(text))


def says(plain: str, phrase: str) -> bool:
    """Whether `phrase` stands in a text of `plain_words` as whole words ("cat" is not in "catalogue").

    Scripts without spaces have no whole words: there it is enough that it occurs.
    """
    wanted = plain_words(phrase)
    return not wanted or f" {wanted} " in f" {plain} " or (not wanted.isascii() and wanted in plain)


def missing_words(prompt: str, phrases: Iterable[str]) -> list[str]:
    """The phrases that the prompt does not say yet, each once; a list in one phrase ("ink wash, sepia") is taken apart.

    Checked against the growing prompt, so that two adapters with the same word add it once.
    """
    added: list[str] = []
    plain = plain_words(prompt)
    for phrase in phrases:
        for part in _parts(phrase):
            if not says(plain, part):
                added.append(part)
                plain += f" {plain_words(part)}"
    return added


def subjects(prompt: str) -> list[str]:
    """What a prompt is about: its words and its short phrases between commas, without those that say nothing."""
    found: dict[str, None] = {}
    for part in re.split(r"[,.;\n|]", _TAG.sub(" ", prompt)):
        words = plain_words(part).split()
        if 1 < len(words) <= 4:
            found[" ".join(words)] = None
        for word in words:
            if word not in STOP_WORDS and (len(word) > 2 or not word.isascii()):
                found[word] = None
    return list(found)


def _parts(phrase: str) -> list[str]:
    """A phrase at its commas; one with brackets around a comma stays whole."""
    if "(" in phrase or "[" in phrase:
        return [phrase.strip()]
    return [part.strip() for part in phrase.split(",") if part.strip()]
