"""config.toml, docs/configuration.md and engine/settings.py say the same."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from engine.protocol.library import ModelDefaults
from engine.settings import CatalogueLora, CatalogueModel, Settings, load_settings, parse_settings

ROOT = Path(__file__).parents[2]
CONFIG = (ROOT / "config.toml").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
SECTIONS = [name for name in Settings.model_fields if name != "catalogue"]


def uncommented() -> dict[str, Any]:
    """config.toml with every commented-out setting switched on."""
    pattern = re.compile(r"^# ?(?=\[|[a-z_]+ = )", re.MULTILINE)
    return tomllib.loads(pattern.sub("", CONFIG))


def plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def test_the_file_that_ships_changes_nothing() -> None:
    assert load_settings(ROOT / "config.toml") == Settings()


def test_every_setting_is_in_the_file_with_its_default() -> None:
    shown = uncommented()
    for section in SECTIONS:
        defaults = Settings().model_dump()[section]
        expected = {name: plain(value) for name, value in defaults.items() if name != "values"}
        assert {name: value for name, value in shown[section].items() if name != "values"} == expected


def test_every_setting_has_a_comment_of_its_own() -> None:
    for section in SECTIONS:
        for name in getattr(Settings(), section).__class__.model_fields:
            assert re.search(
                rf"^# [A-Z][^\n]*\n(# [^\n]+\n)*# ({name} = |\[{section}\.{name})", CONFIG, re.MULTILINE
            ), name


def test_the_examples_in_the_file_are_valid() -> None:
    settings = parse_settings(uncommented())
    assert settings.catalogue.models["anime"].defaults.clip_skip == 2
    assert settings.catalogue.loras["ink"].trigger_words == ("ink drawing",)
    assert settings.extensions.values == {"hello": {"count": 4}}


def test_every_setting_is_on_the_page_with_its_default_and_meaning() -> None:
    for section in SECTIONS:
        part = PAGE.split(f"## [{section}]")[1].split("\n## ")[0]
        for name, field in getattr(Settings(), section).__class__.model_fields.items():
            value = plain(field.default)
            shown = json.dumps(value) if not isinstance(value, float) else str(value)
            assert f"| `{name}` | `{shown}` | {field.description} |" in part


def test_every_setting_of_the_catalogue_is_on_the_page() -> None:
    part = PAGE.split("## [catalogue]")[1].split("\n## ")[0]
    for model in (CatalogueModel, CatalogueLora):
        assert all(f"| `{name}` |" in part for name in model.model_fields)
    assert all(f"`{name}`" in part for name in ModelDefaults.model_fields)
