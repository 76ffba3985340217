"""Settings of extensions: kept only as they were declared, and handed to the extension only so."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from engine.errors import SpecError
from engine.protocol.commands import Done, SetValue, Value
from engine.settings import Settings
from webui.host import SettingField, SettingGroup, TabContext

COUNT = SettingField("count", "Ideas", 4, low=1, high=30)
FIELDS = (
    COUNT,
    SettingField("share", "Share", 0.5, low=0),
    SettingField("loud", "Loud", False),
    SettingField("mood", "Mood", ""),
    SettingField("look", "Look", "flat", choices=("flat", "3d")),
)
GOOD: dict[str, Any] = {"count": 7, "share": 2.25, "loud": True, "mood": "cheerful", "look": "3d"}


class Shelf:
    """The engine's stored values, and nothing else of it."""

    def __init__(self, saved: Any = None) -> None:
        self.saved = saved

    async def call(self, command: Any) -> Any:
        if isinstance(command, SetValue):
            self.saved = command.value
            return Done()
        return Value(value=self.saved)


def context_of(shelf: Shelf, config: dict[str, Any] | None = None) -> TabContext:
    settings = Settings.model_validate({"extensions": {"values": {"mine": config or {}}}})
    group = SettingGroup("mine", "Mine", FIELDS)
    return TabContext(client=shelf, settings=settings, setting_groups=[group])  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [None, "", -5, 0, 31, 1e9, 2.5, float("nan"), float("inf"), "4", True, [4]])
def test_a_whole_number_that_was_not_declared_so_is_a_sentence_and_is_not_kept(value: object) -> None:
    shelf = Shelf()
    with pytest.raises(SpecError) as told:
        asyncio.run(context_of(shelf).save_extension_values("mine", {**GOOD, "count": value}))
    assert told.value.code == "setting_unusable"
    assert "“Ideas”" in told.value.message
    assert told.value.hint == "Give a whole number from 1 to 30."
    assert shelf.saved is None


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("share", -0.5, "Give a number, 0 or more."),
        ("loud", 1, "Switch it on or off."),
        ("mood", None, "Write a text."),
        ("mood", "x" * 2001, "Use at most 2000."),
        ("look", "round", "There are: flat, 3d."),
    ],
)
def test_other_kinds_are_checked_too(name: str, value: object, hint: str) -> None:
    with pytest.raises(SpecError, match="“") as told:
        next(field for field in FIELDS if field.name == name).checked(value)
    assert told.value.hint == hint


def test_what_is_good_comes_back_in_its_kind() -> None:
    context = context_of(Shelf())
    asyncio.run(context.save_extension_values("mine", {**GOOD, "count": 7.0, "share": 3}))
    values = asyncio.run(context.extension_values("mine"))
    assert values == {**GOOD, "share": 3.0}
    assert (type(values["count"]), type(values["share"])) == (int, float)


def test_a_value_that_lies_there_wrong_is_passed_over_and_told(caplog: pytest.LogCaptureFixture) -> None:
    context = context_of(Shelf({"count": None, "mood": "quiet"}), {"count": 9, "loud": "yes"})
    with caplog.at_level(logging.WARNING):
        values = asyncio.run(context.extension_values("mine"))
    assert values == {"count": 9, "share": 0.5, "loud": False, "mood": "quiet", "look": "flat"}
    assert [("config.toml" in line, "“" in line) for line in caplog.messages] == [(True, True), (False, True)]
