"""Extensions that are broken in every way that authors manage become cards; the others load."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.host import ENGINE_METHODS, EngineHost
from engine.protocol.extensions import EngineHalf, EngineHalves
from engine.settings import Settings
from webui.components.extension_cards import with_engine_halves
from webui.extension_loader import load_extensions
from webui.host import UI_METHODS, ExtensionCard, ExtensionHost, TabContext
from webui.studio import build_studio, core_tabs

MANIFEST = 'id = "{id}"\nname = "{id}"\nversion = "1"\napi = 1\n'
GOOD = "def register(host):\n    host.tab('Mine', lambda context: None)\n"


def write(root: Path, folder: str, code: str | None = GOOD, manifest: str | None = None) -> Path:
    place = root / folder
    place.mkdir(parents=True)
    text = manifest if manifest is not None else MANIFEST.format(id=folder)
    (place / "extension.toml").write_text(text, encoding="utf-8")
    if code is not None:
        (place / "ui.py").write_text(code, encoding="utf-8")
    return place


def only_card(root: Path) -> ExtensionCard:
    (card,) = load_extensions(root).cards
    return card


def test_an_extension_with_a_hyphen_and_a_module_of_its_own_loads(tmp_path: Path) -> None:
    place = write(
        tmp_path, "with-hyphen", "from .words import TITLE\ndef register(host):\n    host.tab(TITLE, print)\n"
    )
    (place / "words.py").write_text("TITLE = 'Words'\n")
    scan = load_extensions(tmp_path)
    assert [card.state for card in scan.cards] == ["on"]
    assert scan.loaded[0].host.tabs[0].title == "Words"
    assert scan.cards[0].adds == ("tab “Words”",)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import no_such_package_anywhere\n", "no_such_package_anywhere"),
        ("def register(host:\n", "SyntaxError"),
        ("raise RuntimeError('at import')\n", "at import"),
        ("def register(host):\n    raise ValueError('in register')\n", "in register"),
        ("import sys\nsys.exit(3)\n", "SystemExit"),
        ("x = 1\n", "register(host)"),
        ("def register(host):\n    host.rest_route('/no spaces', None)\n", "cannot be used"),
        ("def register(host):\n    host.no_such_method()\n", "no_such_method"),
    ],
    ids=["import", "syntax", "raise", "register", "exit", "no-register", "bad-route", "unknown-method"],
)
def test_broken_code_becomes_a_card_with_the_reason_and_one_line_in_the_terminal(
    tmp_path: Path, code: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "broken", code)
    write(tmp_path, "fine")
    scan = load_extensions(tmp_path)
    assert [card.state for card in scan.cards] == ["broken", "on"]
    assert reason in scan.cards[0].reason
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("the extension “broken” is not loaded: ")
    assert reason in line
    assert "\n" not in line


def test_the_place_in_the_authors_code_is_shown(tmp_path: Path) -> None:
    write(tmp_path, "broken", "\n\nraise RuntimeError('here')\n")
    assert only_card(tmp_path).detail == "ui.py, line 3"


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        ("not toml at all [", "cannot be read"),
        ('id = "x"\nname = "x"\nversion = "1"\n', "lacks “api”"),
        ('id = "x"\nname = "x"\nversion = "1"\napi = 2\n', "host API 2"),
        ('id = "X Y"\nname = "x"\nversion = "1"\napi = 1\n', "id is not usable"),
        ('id = "x"\nname = "x"\nversion = "1"\napi = 1\nentyr = "a.py"\n', "unknown key “entyr”"),
        ('id = "x"\nname = "x"\nversion = "1"\napi = 1\nentry = "missing.py"\n', "missing.py is missing"),
        ('id = "x"\nname = "x"\nversion = "1"\napi = 1\nentry = "../outside.py"\n', "is missing"),
    ],
)
def test_a_bad_manifest_becomes_a_card(tmp_path: Path, manifest: str, reason: str) -> None:
    (tmp_path / "outside.py").write_text(GOOD)
    write(tmp_path, "bad", manifest=manifest)
    card = only_card(tmp_path)
    assert card.state == "broken"
    assert reason in card.reason


def test_an_extension_may_have_its_engine_half_only(tmp_path: Path) -> None:
    manifest = MANIFEST.format(id="quiet") + 'engine = "engine_side.py"\n'
    write(tmp_path, "quiet", code=None, manifest=manifest)
    assert only_card(tmp_path).state == "on"
    write(tmp_path, "neither", code=None)
    assert [card.state for card in load_extensions(tmp_path).cards] == ["broken", "on"]


def test_what_became_of_the_engine_half_is_on_the_card(tmp_path: Path) -> None:
    cards = [ExtensionCard("a", "A", adds=("tab “X”",)), ExtensionCard("b", "B"), ExtensionCard("c", "C", state="off")]
    halves = (
        EngineHalf(id="a", adds=("adapters of the kind Outer",)),
        EngineHalf(id="b", state="broken", reason="It fell.", detail="engine_side.py, line 3"),
        EngineHalf(id="c", state="broken", reason="It is off."),
    )
    first, second, third = with_engine_halves(cards, EngineHalves(halves=halves))
    assert first.adds == ("tab “X”", "adapters of the kind Outer")
    assert (second.state, second.detail) == ("broken", "engine_side.py, line 3")
    assert "It fell." in second.reason
    assert third == cards[2]
    assert with_engine_halves(cards, None) == cards


def test_a_folder_without_manifest_is_told_and_hidden_folders_are_not_looked_at(tmp_path: Path) -> None:
    for name in ("plain", ".hidden", "__pycache__"):
        (tmp_path / name).mkdir()
    assert only_card(tmp_path).id == "plain"


def test_the_second_extension_of_one_id_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "one", manifest=MANIFEST.format(id="same"))
    write(tmp_path, "two", manifest=MANIFEST.format(id="same"))
    scan = load_extensions(tmp_path)
    assert [card.state for card in scan.cards] == ["on", "broken"]
    assert "“one”" in scan.cards[1].reason


def test_disabled_and_safe_mode_run_no_code(tmp_path: Path) -> None:
    write(tmp_path, "loud", "raise RuntimeError('it ran')\n")
    for scan in (load_extensions(tmp_path, disabled=["loud"]), load_extensions(tmp_path, safe_mode=True)):
        assert [card.state for card in scan.cards] == ["off"]
        assert scan.loaded == ()


def test_a_missing_folder_means_no_extensions(tmp_path: Path) -> None:
    assert load_extensions(tmp_path / "nowhere").cards == ()


def studio_with(root: Path) -> tuple[TabContext, set[str]]:
    """The studio's context after building, and the ids of its tabs."""
    context = TabContext(client=None, settings=Settings())  # type: ignore[arg-type]
    blocks = build_studio(context, load_extensions(root))
    config = blocks.get_config_file()
    return context, {part["props"].get("id") for part in config["components"] if part["type"] == "tabitem"}


def test_a_tab_that_raises_while_it_is_built_leaves_nothing_behind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    code = (
        "import gradio as gr\n"
        "def build(context):\n"
        "    gr.Textbox(elem_id='half-built')\n"
        "    raise RuntimeError('halfway')\n"
        "def register(host):\n"
        "    host.tab('Half', build)\n"
    )
    write(tmp_path, "half", code)
    write(tmp_path, "whole")
    context, tabs = studio_with(tmp_path)
    assert tabs == {*(tab.id for tab in core_tabs()), "whole"}
    assert {card.id: card.state for card in context.cards} == {"half": "broken", "whole": "on"}
    assert "halfway" in context.cards[0].reason
    assert [record.getMessage() for record in caplog.records if record.name == "easel.extensions"] == [
        "the extension “half” is not loaded: RuntimeError: halfway. (ui.py, line 4)"
    ]


def test_a_panel_that_raises_leaves_text_to_image_whole(tmp_path: Path) -> None:
    code = "def register(host):\n    host.panel('P', lambda context: 1 / 0)\n"
    write(tmp_path, "panel", code)
    context, tabs = studio_with(tmp_path)
    assert "txt2img" in tabs
    assert context.cards[0].state == "broken"
    assert "ZeroDivisionError" in context.cards[0].reason


def test_the_page_keeps_no_connection_open_for_gradio(tmp_path: Path) -> None:
    """Browsers allow six connections to a host; a heartbeat in each tab would block the seventh tab."""
    context = TabContext(client=None, settings=Settings())  # type: ignore[arg-type]
    config = build_studio(context, load_extensions(tmp_path)).get_config_file()
    assert config["connect_heartbeat"] is False
    assert all(not dependency["queue"] for dependency in config["dependencies"] if dependency["backend_fn"])


def test_the_lists_of_host_methods_name_every_public_method() -> None:
    for host, listed in ((ExtensionHost, UI_METHODS), (EngineHost, ENGINE_METHODS)):
        public = {name for name, value in vars(host).items() if not name.startswith("_") and callable(value)}
        assert public == {method.name for method in listed}
