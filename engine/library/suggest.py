"""Which adapters fit what is being typed: words of names, trigger words and training tags, and one's own past use."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from engine.library.adapter_entries import AdapterEntry
from engine.library.prompt_words import STOP_WORDS, plain_words, says
from engine.protocol.adapters import Suggestion

# What each sort of evidence adds to the ranking of the text search.
TRIGGER, NAME, USE = 8.0, 3.0, 3.0
SHOWN = 2
# A past picture counts when it shares this many words with the prompt, or all that the prompt has.
SHARED_WORDS = 2


@dataclass(frozen=True)
class Use:
    """One's own pictures with an adapter that are like the prompt: how many, by which words, at which weight."""

    pictures: int
    words: tuple[str, ...]
    weight: float


def uses_like(prompt: str, past: Iterable[tuple[str, float, str]]) -> dict[str, Use]:
    """By adapter, the past uses (adapter, weight, prompt) that share words with the prompt."""
    wanted = _content(prompt)
    needed = min(SHARED_WORDS, len(wanted))
    counts: Counter[str] = Counter()
    words: defaultdict[str, Counter[str]] = defaultdict(Counter)
    weights: defaultdict[str, list[float]] = defaultdict(list)
    for adapter, weight, text in past:
        shared = wanted & _content(text)
        if needed and len(shared) >= needed:
            counts[adapter] += 1
            words[adapter].update(shared)
            weights[adapter].append(weight)
    return {
        adapter: Use(
            count,
            tuple(word for word, _ in sorted(words[adapter].items(), key=lambda each: (-each[1], each[0]))[:SHOWN]),
            statistics.median(weights[adapter]),
        )
        for adapter, count in counts.items()
    }


def suggest(
    prompt: str, found: Sequence[tuple[AdapterEntry, float]], uses: Mapping[str, Use], limit: int
) -> list[Suggestion]:
    """The best fitting of the found adapters (with the score of the text search), each with its reasons."""
    plain = plain_words(prompt)
    rows = [_suggestion(plain, entry, score, uses.get(entry.view.id)) for entry, score in found]
    fitting = [row for row in rows if row is not None]
    return sorted(fitting, key=lambda row: (-row.score, row.adapter.title.casefold()))[:limit]


def _suggestion(plain: str, entry: AdapterEntry, score: float, use: Use | None) -> Suggestion | None:
    view = entry.view
    reasons: list[str] = []
    triggers = [word for word in view.trigger_words if plain_words(word) and says(plain, word)]
    if triggers:
        score += TRIGGER
        reasons.append(f"its trigger {_words(triggers)} stands in the prompt")
    names = set(plain_words(f"{view.id} {view.title}").split()) & _content(plain)
    if names:
        score += NAME * len(names)
        reasons.append(f"its name says {_words(sorted(names))}")
    tags = [tag for tag, _ in entry.facts.tags() if tag not in triggers and _says_something(plain, tag)]
    if tags:
        reasons.append(f"it was trained on pictures tagged {_words(tags)}")
    if use is not None:
        score += USE * math.log1p(use.pictures)
        times = "a picture" if use.pictures == 1 else f"{use.pictures} pictures"
        reasons.append(f"you used it for {times} with {_words(use.words)}")
    if not reasons:
        return None
    text = "; ".join(reasons)
    weight = view.default_weight if use is None else use.weight
    return Suggestion(
        adapter=view, reason=f"{text[0].upper()}{text[1:]}.", weight=round(weight, 2), score=round(score, 3)
    )


def _content(text: str) -> set[str]:
    """The words of a text that say what a picture shows."""
    return {
        word for word in plain_words(text).split() if word not in STOP_WORDS and (len(word) > 2 or not word.isascii())
    }


def _says_something(plain: str, tag: str) -> bool:
    return bool(_content(tag)) and says(plain, tag)


def _words(words: Sequence[str]) -> str:
    return " and ".join(f"“{word}”" for word in words[:SHOWN])
