"""AdapterStore: searching and ranking by words, past use out of the pictures, named stacks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import NotFoundError, SpecError
from engine.protocol.adapters import NamedStack
from engine.protocol.specs import AdapterRef, GenerationSpec
from engine.store.adapters import AdapterWords
from engine.store.store import Store, open_store
from tests.engine.store.making import new_image


def words(adapter_id: str, title: str = "", triggers: str = "", tags: str = "", folder: str = "") -> AdapterWords:
    return AdapterWords(adapter_id, adapter_id, title or adapter_id, triggers, tags, folder)


ROWS = [
    words("pixelart_v2", "Pixel Art", "pixel style", "castle\nnight", "styles"),
    words("castle", "Castle at night", "", "tower"),
    words("mountain", "Mountain", "peak", "castle\nsnow"),
    words("sumi", "墨絵", "墨", "夏の猫"),
]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path)
    opened.adapters.sync(ROWS)
    yield opened
    opened.close()


def test_every_word_must_occur_and_names_come_first(store: Store) -> None:
    assert store.adapters.search("castle")[0] == "castle"
    assert set(store.adapters.search("castle")) == {"castle", "pixelart_v2", "mountain"}
    assert store.adapters.search("castle snow") == ["mountain"]
    assert store.adapters.search("moun") == ["mountain"]
    assert store.adapters.search("lart") == ["pixelart_v2"], "inside a longer word too"
    assert store.adapters.search("styles") == ["pixelart_v2"], "folders count"
    assert store.adapters.search("猫") == ["sumi"]
    assert store.adapters.search("castle zebra") == []
    assert store.adapters.search("%") == store.adapters.search('"') == store.adapters.search(" ") == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.text(max_size=60))
def test_no_text_makes_a_search_fail(store: Store, text: str) -> None:
    store.adapters.search(text)
    store.adapters.rank([text], 10)


def test_ranking_prefers_what_is_rare_and_what_is_a_name(store: Store) -> None:
    ranked = dict(store.adapters.rank(["castle", "tower"], 10))
    assert max(ranked, key=lambda key: ranked[key]) == "castle"
    assert store.adapters.rank([], 10) == []


def test_only_what_changed_is_written_again(store: Store) -> None:
    assert store.adapters.sync(ROWS) == 0
    changed = [*ROWS[1:], words("castle2")]
    assert store.adapters.sync(changed) == 2
    assert store.adapters.search("pixel") == []
    assert "castle2" in store.adapters.search("castle2")
    assert store.adapters.sync([words("castle", "Fort"), *changed[1:]]) == 2
    assert store.adapters.search("fort") == ["castle"]
    assert "castle" not in store.adapters.search("night")


def make(store: Store, name: str, prompt: str, *rows: AdapterRef, owner: str = "local") -> str:
    spec = GenerationSpec(prompt=prompt, adapters=rows)
    image = new_image(id=name, spec=spec)
    store.history.record(image, media_type="image/png", owner=owner, finish_task=False)
    return image.id


def test_what_was_used_for_what_comes_out_of_the_pictures(store: Store) -> None:
    ink, off = AdapterRef(name="ink", unet_weight=0.7), AdapterRef(name="fog", enabled=False)
    first = make(store, "one", "a castle", ink, off)
    make(store, "two", "a cat")
    make(store, "three", "a house", ink, owner="ann")
    assert [(use.adapter, use.weight, use.prompt) for use in store.adapters.past_use("local")] == [
        ("ink", 0.7, "a castle")
    ]
    assert [use.prompt for use in store.adapters.past_use("ann")] == ["a house"]
    assert store.adapters.past_use("local", after=store.adapters.newest_picture("local")) == []
    assert set(store.adapters.recent_prompts("local", 10)) == {"a castle", "a cat"}
    store.history.delete([first], "local")
    assert store.adapters.past_use("local") == [], "the bin does not count"
    store.history.restore([first], "local")
    assert len(store.adapters.past_use("local")) == 1


def test_stacks_are_their_owners(store: Store) -> None:
    stack = NamedStack(name=" Sketch ", adapters=(AdapterRef(name="ink", unet_weight=0.4), AdapterRef(name="fog")))
    store.adapters.save_stack("ann", stack)
    store.adapters.save_stack("ann", NamedStack(name="abc"))
    assert [kept.name for kept in store.adapters.stacks("ann")] == ["abc", "Sketch"]
    assert store.adapters.stacks("ann")[1].adapters == stack.adapters
    assert store.adapters.stacks("bob") == []
    store.adapters.save_stack("ann", NamedStack(name="Sketch"))
    assert store.adapters.stacks("ann")[1].adapters == ()
    with pytest.raises(NotFoundError) as caught:
        store.adapters.delete_stack("bob", "Sketch")
    assert caught.value.code == "stack_unknown"
    store.adapters.delete_stack("ann", "Sketch")
    assert [kept.name for kept in store.adapters.stacks("ann")] == ["abc"]
    for name in ("", "  ", "x" * 101, "\x00"):
        with pytest.raises(SpecError):
            store.adapters.save_stack("ann", NamedStack(name=name))
