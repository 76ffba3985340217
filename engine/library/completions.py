"""What an unfinished word of a prompt may become."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from engine.conditioning.adapter_tags import write_tag
from engine.library.adapter_entries import AdapterEntry
from engine.library.prompt_words import plain_words
from engine.protocol.adapters import Completion
from engine.protocol.specs import AdapterRef

_TAG_START = re.compile(r"<(?:lora|lyco):", re.IGNORECASE)
LONGEST_PHRASE = 60
LOOKED_AT = 300


class WordList:
    """Completions in the order of the texts that they are found by; a prefix costs a bisection."""

    def __init__(self, rows: Iterable[tuple[str, Completion]]) -> None:
        self._rows = sorted(rows, key=lambda row: row[0])
        self._keys = [key for key, _ in self._rows]

    def starting(self, prefix: str, limit: int) -> list[Completion]:
        """At most `limit` different completions whose text begins with `prefix`; ids first, then titles, then words."""
        found: dict[str, Completion] = {}
        place = bisect_left(self._keys, prefix)
        while place < len(self._keys) and self._keys[place].startswith(prefix) and len(found) < LOOKED_AT:
            completion = self._rows[place][1]
            found.setdefault(completion.insert, completion)
            place += 1

        def order(each: Completion) -> tuple[bool, bool]:
            return (
                not each.insert.casefold().startswith((prefix, f"<lora:{prefix}")),
                not each.text.casefold().startswith(prefix),
            )

        return sorted(found.values(), key=order)[:limit]


def adapter_rows(entries: Iterable[AdapterEntry]) -> Iterator[tuple[str, Completion]]:
    """Adapters by their names and by each word in them."""
    for entry in entries:
        view = entry.view
        if view.problem:
            continue
        tag = write_tag(AdapterRef(name=view.id, unet_weight=view.default_weight))
        detail = ", ".join(part for part in (view.kind, view.family, f"{view.default_weight:g}") if part)
        completion = Completion(text=view.title, insert=tag, kind="adapter", detail=detail)
        keys = {view.id.casefold(), view.title.casefold(), *plain_words(f"{view.id} {view.title}").split()}
        yield from ((key, completion) for key in keys)


def trigger_rows(entries: Iterable[AdapterEntry]) -> Iterator[tuple[str, Completion]]:
    """Trigger words, each with the adapter that it belongs to."""
    for entry in entries:
        for word in entry.view.trigger_words if not entry.view.problem else ():
            detail = f"trigger of {entry.view.title}"
            yield word.casefold(), Completion(text=word, insert=word, kind="trigger", detail=detail)


def embedding_rows(names: Iterable[str]) -> Iterator[tuple[str, Completion]]:
    """Textual inversions by their words."""
    for name in names:
        yield name.casefold(), Completion(text=name, insert=name, kind="embedding")


def history_rows(prompts: Iterable[str]) -> list[tuple[str, Completion]]:
    """Phrases between commas and single words of one's own prompts, with how often each was used."""
    counts: Counter[str] = Counter()
    for prompt in prompts:
        phrases = {" ".join(part.split()) for part in re.split(r"[,\n]", prompt)}
        words = set(plain_words(prompt).split())
        counts.update(each for each in phrases | words if 2 < len(each) <= LONGEST_PHRASE)
    return [
        (text.casefold(), Completion(text=text, insert=text, kind="history", detail=f"used {count}×"))
        for text, count in counts.items()
    ]


def complete(prefix: str, lists: Sequence[WordList], limit: int) -> list[Completion]:
    """The completions of a prefix out of several lists, a share of each. Inside a tag only adapters are asked for.

    The first list has the adapters. A prefix of one letter completes nothing but a tag's name.
    """
    text = " ".join(prefix.split()).casefold()
    if _TAG_START.match(text):
        return lists[0].starting(_TAG_START.sub("", text, count=1), limit)
    if len(text) < 2:
        return []
    found = [each.starting(text, limit) for each in lists]
    share = max(1, limit // len(lists))
    chosen = [completion for part in found for completion in part[:share]]
    chosen += [completion for part in found for completion in part[share:]]
    # Where a trigger word is among one's own words too, the first says more.
    once = {completion.insert.casefold(): completion for completion in reversed(chosen)}
    return [completion for completion in chosen if once.get(completion.insert.casefold()) is completion][:limit]
