"""Where words of textual inversions stand in a text. No torch.

    written  := name | "<" name ">" | "embedding:" [folder "/"] name [".pt" | ".bin" | ".safetensors"]

The first is A1111's way (small and capital letters are the same, the name must stand alone), the second diffusers', the
third ComfyUI's. Names that have angle brackets themselves are only found with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

LONGEST = 200
_START = re.compile(
    rf"(?<!\w)(?P<comfy>embedding:)(?=\S)|<(?P<angle>[^<>]{{1,{LONGEST}}})>|(?P<run>\w+)", re.IGNORECASE
)
_RUN = re.compile(r"\w+")
_COMFY_NAME = re.compile(rf"[^\s,:()\[\]<>|]{{1,{LONGEST}}}")
_SUFFIX = re.compile(r"\.(?:pt|bin|safetensors)$", re.IGNORECASE)


@dataclass(frozen=True)
class Word:
    """A place in a text. `name` is the inversion's, "" where `embedding:…` names none; `text` is the name as written,
    which is read where the inversion cannot be used; `source` is the whole of what was written."""

    name: str
    text: str
    source: str


class WordFinder:
    """Finds names in texts, the longest first; a text takes time for its length, however many names there are."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names: dict[str, str] = {}
        # By the first run of letters and digits: (where it stands in the name, the name in small letters).
        self._bare: dict[str, list[tuple[int, str]]] = {}
        for name in names:
            small = name.lower()
            if not small or small in self._names:
                continue
            self._names[small] = name
            run = None if _in_brackets(small) else _RUN.search(small)
            if run:
                self._bare.setdefault(run[0], []).append((run.start(), small))
        for found in self._bare.values():
            found.sort(key=lambda item: -len(item[1]))

    def split(self, text: str) -> list[str | Word]:
        """The text in parts, in order: what is no inversion as it stands, and the words."""
        parts: list[str | Word] = []
        done = place = 0
        while match := _START.search(text, place):
            found = self._at(text, match, done)
            if found is None:
                # Within angle brackets and behind "embedding:" there may still be bare names.
                place = match.start() + 1 if match["angle"] else match.end()
                continue
            start, end, word = found
            if start > done:
                parts.append(text[done:start])
            parts.append(word)
            done = place = end
        if done < len(text) or not parts:
            parts.append(text[done:])
        return parts

    def words(self, text: str) -> list[Word]:
        """The words alone."""
        return [part for part in self.split(text) if isinstance(part, Word)]

    def _at(self, text: str, match: re.Match[str], done: int) -> tuple[int, int, Word] | None:
        if match["comfy"]:
            return self._after_colon(text, match)
        if match["angle"]:
            small = match["angle"].strip().lower()
            name = self._names.get(f"<{small}>") or self._names.get(small)
            return (match.start(), match.end(), Word(name, match["angle"], match[0])) if name else None
        found = self._standing(text, match, done)
        return None if found is None else (found[0], found[1], Word(found[2], *[text[found[0] : found[1]]] * 2))

    def _standing(self, text: str, run: re.Match[str], done: int) -> tuple[int, int, str] | None:
        """(start, end, name) of the longest name whose first run is `run`."""
        for offset, small in self._bare.get(run[0].lower(), ()):
            start = run.start() - offset
            end = start + len(small)
            if start < done or text[start:end].lower() != small:
                continue
            if not (_joined(text, end) and _letter(small[-1])):
                return start, end, self._names[small]
        return None

    def _after_colon(self, text: str, match: re.Match[str]) -> tuple[int, int, Word] | None:
        place = match.end()
        run = _RUN.search(text, place)
        known = self._standing(text, run, place) if run else None
        if known is not None and known[0] == place:
            end = known[1]
            if suffix := re.match(_SUFFIX.pattern[:-1] + r"(?!\w)", text[end:], re.IGNORECASE):
                end += suffix.end()
            return match.start(), end, Word(known[2], text[place : known[1]], text[match.start() : end])
        written = _COMFY_NAME.match(text, place)
        if written is None:
            return None
        shown = written[0].rstrip(".;!?")
        plain = _SUFFIX.sub("", shown)
        name = self._names.get(plain.lower()) or self._names.get(re.split(r"[/\\]", plain)[-1].lower(), "")
        return match.start(), place + len(shown), Word(name, plain, match[0] + shown)


def _in_brackets(name: str) -> bool:
    return name.startswith("<") and name.endswith(">")


def _letter(sign: str) -> bool:
    return bool(_RUN.match(sign))


def _joined(text: str, place: int) -> bool:
    """Whether a word goes on at `place`."""
    return place < len(text) and _letter(text[place])
