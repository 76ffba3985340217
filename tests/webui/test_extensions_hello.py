"""The example extension loads, adds what it says, and makes up different ideas."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from engine.settings import Settings
from webui.host import TabContext
from webui.studio import EXTENSIONS_DIR, build_studio, scan_extensions


def test_hello_adds_a_tab_a_panel_and_settings() -> None:
    scan = scan_extensions(Settings())
    (hello,) = [extension for extension in scan.loaded if extension.card.id == "hello"]
    assert hello.card.state == "on"
    assert [tab.title for tab in hello.host.tabs] == ["Hello"]
    assert [panel.extension for panel in hello.host.panels] == ["hello"]
    assert [field.name for field in hello.host.setting_groups[0].fields] == ["count", "mood"]


def test_its_tab_and_panel_are_on_the_page() -> None:
    context = TabContext(client=None, settings=Settings())  # type: ignore[arg-type]
    blocks = build_studio(context, scan_extensions(Settings()))
    ids = {part["props"].get("elem_id") for part in blocks.get_config_file()["components"]}
    assert {"easel-tab-hello", "hello-note", "easel-ext-hello-mood"} <= ids
    assert [card.state for card in context.cards if card.id == "hello"] == ["on"]


@given(st.integers(1, 30), st.integers(0, 2**31), st.sampled_from(["", "cheerful"]))
def test_ideas_are_different_and_repeatable(count: int, seed: int, mood: str) -> None:
    if "easel_extension_hello.ideas" not in sys.modules:
        scan_extensions(Settings())
    ideas = sys.modules["easel_extension_hello.ideas"].ideas
    found = ideas(count, seed, mood)
    assert len(set(found)) == count
    assert found == ideas(count, seed, mood)
    assert all(mood in idea for idea in found)


def test_every_extension_that_ships_runs() -> None:
    cards = scan_extensions(Settings()).cards
    assert {card.id for card in cards if card.state == "broken"} == set()
    assert len(cards) == len([folder for folder in EXTENSIONS_DIR.iterdir() if (folder / "extension.toml").is_file()])
