"""docs/extensions.md tells the truth: every host method, whether it is built, and every manifest key."""

from __future__ import annotations

import re

import pytest

from engine.extension_folder import Manifest
from engine.host import ENGINE_METHODS
from engine.settings import ROOT
from webui.host import UI_METHODS

TEXT = (ROOT / "docs" / "extensions.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### host\.(\w+)\n(.*?)(?=^#|\Z)", TEXT, flags=re.MULTILINE | re.DOTALL))
METHODS = {method.name: method.built for method in (*UI_METHODS, *ENGINE_METHODS)}


def test_the_page_has_a_section_for_each_host_method_and_no_other() -> None:
    assert set(SECTIONS) == set(METHODS)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_section_says_not_yet_exactly_where_it_is_not_built(name: str) -> None:
    assert SECTIONS[name].startswith("Not yet.") is not METHODS[name]
    assert f"host.{name}(" in SECTIONS[name]


def test_the_manifest_shown_has_every_key() -> None:
    shown = re.search(r"```toml\n(.*?)```", TEXT, flags=re.DOTALL)
    assert shown is not None
    assert set(re.findall(r"^(\w+) = ", shown.group(1), flags=re.MULTILINE)) == set(Manifest.model_fields)
