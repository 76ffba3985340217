"""The command line of launch.py, and the Pythons that cannot run it."""

from __future__ import annotations

import ast
import io
import runpy
import sys
from pathlib import Path

import pytest

from engine.errors import ConfigError
from engine.launcher.main import _absolute
from engine.launcher.options import COMMANDS, OPTIONS, Options, parse
from engine.launcher.quick_settings import read_quick_settings

ROOT = Path(__file__).parents[2]


def test_nothing_said_opens_the_studio() -> None:
    assert parse([]) == Options(command="run")


def test_every_option_of_the_studio(tmp_path: Path) -> None:
    words = [
        "--listen",
        "--port",
        "8009",
        "--no-browser",
        "--config",
        str(tmp_path / "c"),
        "--data",
        "~/d",
        "--safe-mode",
    ]
    found = parse(words)
    assert (found.listen, found.port, found.browser, found.safe_mode) == (True, 8009, False, True)
    assert found.config == tmp_path / "c"
    assert found.data == (Path.home() / "d").resolve()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_keeps_its_own_words(command: str) -> None:
    assert parse([command, "--steps", "4", "a cat"]).rest == ("--steps", "4", "a cat")
    assert parse([command]).command == command


@pytest.mark.parametrize("words", [["--torch", "cpu", "test"], ["test", "--torch", "cpu"], ["test", "--torch=cpu"]])
def test_the_build_of_torch_may_stand_anywhere(words: list[str]) -> None:
    assert parse(words) == Options(command="test", torch="cpu")


def test_a_build_that_does_not_exist_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match="--torch tpu does not exist") as refused:
        parse(["--torch", "tpu"])
    assert "cuda" in refused.value.hint


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["generat"], "launch.py has no command “generat”.", "Did you mean generate?"),
        (["Generate", "a fox"], "launch.py has no command “Generate”.", "Did you mean generate?"),
        (["benhc", "engine"], "launch.py has no command “benhc”.", "Did you mean bench?"),
        (["--no-browser", "docter"], "launch.py has no command “docter”.", "Did you mean doctor?"),
        (["--prot", "8009"], "launch.py has no option “--prot”.", "Did you mean --port?"),
        (["--lisen"], "launch.py has no option “--lisen”.", "Did you mean --listen?"),
        (["zzz"], "launch.py has no command “zzz”.", "--help"),
        (["--listen", "test"], "“test” stands behind an option.", "launch.py test"),
    ],
)
def test_a_misspelt_word_is_told_the_nearest(words: list[str], message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(words)
    assert refused.value.message == message
    assert hint in refused.value.hint


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1"])
def test_a_port_that_cannot_be(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse([f"--port={port}"])
    assert "a port is a number from 1 to 65535" in capsys.readouterr().err


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    said = capsys.readouterr().out
    assert all(name in said for name in (*COMMANDS, *OPTIONS))


def test_path_options_become_absolute_and_prompts_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _absolute(["a cat", "--out", "x.png", "--json=y", "--steps", "4"]) == [
        "a cat", "--out", str(tmp_path / "x.png"), f"--json={tmp_path / 'y'}", "--steps", "4",
    ]  # fmt: skip


@pytest.mark.parametrize("version", [(3, 4), (3, 8), (3, 10)])
def test_launch_py_can_be_read_by_old_pythons(version: tuple[int, int]) -> None:
    ast.parse((ROOT / "launch.py").read_text(), feature_version=version)


def test_an_old_python_gets_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()
    module = runpy.run_path(str(ROOT / "launch.py"))
    monkeypatch.setattr(sys, "version_info", (3, 10, 13, "final", 0))
    monkeypatch.setattr(sys, "stderr", said)
    assert module["main"]() == 1
    assert said.getvalue().count("\n") == 1
    assert "Easel needs Python 3.11 or newer, and this is Python 3.10.13." in said.getvalue()


# --- the few settings that are read before anything is installed ---------------------------------------------------


def test_defaults_without_a_file(tmp_path: Path) -> None:
    quick = read_quick_settings(tmp_path, None, None)
    assert (quick.host, quick.port, quick.state_dir) == ("127.0.0.1", 7860, tmp_path / "outputs" / ".easel")


def test_settings_are_read_and_data_wins(tmp_path: Path) -> None:
    text = '[ui]\nport = 8009\nhost = "::1"\n[paths]\ndata = "/d"\noutputs = "o"\n'
    (tmp_path / "config.toml").write_text(text)
    quick = read_quick_settings(tmp_path, None, None)
    assert (quick.host, quick.port, quick.state_dir) == ("::1", 8009, Path("/d/o/.easel"))
    assert read_quick_settings(tmp_path, None, Path("/e")).state_dir == Path("/e/o/.easel")


def test_it_agrees_with_the_real_settings(tmp_path: Path) -> None:
    from engine.settings import load_settings

    file = tmp_path / "c.toml"
    file.write_text(f'[paths]\ndata = "{tmp_path}"\noutputs = "pictures"\n')
    assert read_quick_settings(ROOT, file, None).state_dir == load_settings(file).state_dir
    assert read_quick_settings(ROOT, None, None).state_dir == load_settings(None).state_dir


def test_values_of_a_wrong_type_wait_for_the_real_check(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('ui = 3\n[paths]\ndata = ["x"]\n')
    assert read_quick_settings(tmp_path, None, None).port == 7860


@pytest.mark.parametrize("config", [None, "missing.toml"])
def test_a_broken_or_missing_file_is_one_sentence(tmp_path: Path, config: str | None) -> None:
    (tmp_path / "config.toml").write_text("[ui\n")
    with pytest.raises(ConfigError) as refused:
        read_quick_settings(tmp_path, tmp_path / config if config else None, None)
    assert refused.value.code == "config_unreadable"
