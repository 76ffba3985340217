"""Suggestions and completions: every one with its reason, and nothing from others' words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.library.adapter_entries import AdapterEntry
from engine.library.completions import WordList, adapter_rows, complete, embedding_rows, history_rows, trigger_rows
from engine.library.identity import AdapterFacts
from engine.library.prompt_words import missing_words, plain_words, says, subjects
from engine.library.suggest import Use, suggest, uses_like
from engine.protocol.adapters import AdapterView


def entry(adapter_id: str, title: str = "", tags: str = "", **view: Any) -> AdapterEntry:
    facts = AdapterFacts(tag_lines="\n".join(f"{tag}\t5" for tag in tags.split(",") if tag))
    return AdapterEntry(AdapterView(id=adapter_id, title=title or adapter_id, **view), Path(adapter_id), facts=facts)


def test_words_of_a_prompt() -> None:
    assert plain_words("A (red:1.2) Cat, [blue|green] <lora:x:1> it's") == "a red cat blue green it's"
    assert says(plain_words("a (Red Fox:1.3) runs"), "red fox")
    assert not says(plain_words("a catalogue"), "cat")
    assert says(plain_words("夏の猫"), "猫")
    assert missing_words("ink wash", ["Ink Wash", "fog, ink wash", "fog"]) == ["fog"]
    assert missing_words("", ["(a:1.2), b", "?"]) == ["(a:1.2), b"]
    assert subjects("a red fox, the snow at night, masterpiece") == [
        "a red fox",
        "red",
        "fox",
        "the snow at night",
        "snow",
        "night",
    ]


def test_each_suggestion_says_why() -> None:
    found = [
        (entry("pixelart", "Pixel Art", trigger_words=("pixel style",), default_weight=0.8), 1.0),
        (entry("castle_v2", "Castle"), 1.0),
        (entry("scenes", tags="castle,night sky"), 1.0),
        (entry("mine"), 0.0),
        (entry("nothing"), 5.0),
    ]
    uses = {"mine": Use(12, ("castle", "night"), 0.65)}
    rows = suggest("a castle at night, pixel style", found, uses, 8)
    by_id = {row.adapter.id: row for row in rows}
    assert set(by_id) == {"pixelart", "castle_v2", "scenes", "mine"}
    assert "its trigger “pixel style” stands in the prompt".capitalize() in by_id["pixelart"].reason
    assert by_id["castle_v2"].reason == "Its name says “castle”."
    assert by_id["scenes"].reason == "It was trained on pictures tagged “castle”."
    assert by_id["mine"].reason == "You used it for 12 pictures with “castle” and “night”."
    assert (by_id["mine"].weight, by_id["pixelart"].weight) == (0.65, 0.8)
    assert rows[0].adapter.id == "pixelart"
    assert [row.score for row in rows] == sorted((row.score for row in rows), reverse=True)


def test_past_use_needs_more_than_one_common_word() -> None:
    past = [("ink", 0.5, "a castle at night"), ("ink", 0.7, "night castle, fog"), ("fog", 1.0, "a castle")]
    uses = uses_like("castle at night", past)
    assert set(uses) == {"ink"}
    assert (uses["ink"].pictures, uses["ink"].weight) == (2, pytest.approx(0.6))
    assert set(uses_like("castle", past)) == {"ink", "fog"}
    assert uses_like("", past) == uses_like("the a of", past) == {}


def lists() -> tuple[WordList, WordList, WordList]:
    entries = [
        entry("Castle_V2", "Old Castle", trigger_words=("castle style",), default_weight=0.7, kind="LoRA"),
        entry("cast-iron", "Iron"),
        entry("broken", "Castle broken", problem="No."),
    ]
    others = [*trigger_rows(entries), *embedding_rows(["castaway"])]
    prompts = ["a castle at dawn, soft light", "castle at dawn"]
    return WordList(adapter_rows(entries)), WordList(others), WordList(history_rows(prompts))


def test_completions_are_of_all_kinds() -> None:
    found = complete("Cast", lists(), 12)
    assert {each.kind for each in found} == {"adapter", "trigger", "embedding", "history"}
    by_text = {each.text: each for each in found}
    assert by_text["Old Castle"].insert == "<lora:Castle_V2:0.7>"
    assert by_text["castle style"].detail == "trigger of Old Castle"
    assert by_text["castle"].detail == "used 2×"
    assert "Castle broken" not in by_text
    assert len(complete("cast", lists(), 3)) == 3
    assert complete("c", lists(), 12) == complete("", lists(), 12) == []
    assert [each.text for each in complete("soft li", lists(), 12)] == ["soft light"]


def test_inside_a_tag_only_adapters_are_asked_for() -> None:
    assert {each.kind for each in complete("<lora:ca", lists(), 12)} == {"adapter"}
    assert len(complete("<lora:", lists(), 12)) == 2
