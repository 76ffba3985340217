"""What launch.py does once everything is installed."""

from __future__ import annotations

import importlib
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as benchmarks
from engine.cli import generate, import_paths, merge
from engine.client.data_lock import DataLock
from engine.errors import ConfigError, SetupError
from engine.launcher import main
from engine.launcher.environment import Environment
from engine.launcher.new_extension import extension_id, new_extension
from engine.launcher.ports import choose_port
from engine.launcher.threads import engine_environment
from webui.extension_loader import load_extensions

ROOT = Path(__file__).parents[2]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if everything was installed into the environment that runs the tests, which it is."""
    here = Environment(Path(sys.prefix), Path(sys.executable), own=False)
    monkeypatch.setattr(main, "ensure", lambda root, torch, tests=False: here)


@pytest.fixture
def became(installed: None, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that this process would have become."""
    seen: list[list[str]] = []
    monkeypatch.setattr(main.platform, "become", lambda command, environment: seen.append(command))
    monkeypatch.setattr(main.os, "chdir", lambda folder: None)
    return seen


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# --- opening the studio --------------------------------------------------------------------------------------------


def test_the_process_becomes_the_web_process(became: list[list[str]], tmp_path: Path) -> None:
    port = free_port()
    main.run_launcher(["--port", str(port), "--data", str(tmp_path), "--no-browser", "--safe-mode"])
    words = ["--host", "127.0.0.1", "--port", str(port), "--data", str(tmp_path), "--no-browser", "--safe-mode"]
    assert became == [[sys.executable, "-m", "webui", *words]]


def test_the_web_process_understands_every_word_that_it_is_given(became: list[list[str]], tmp_path: Path) -> None:
    from webui.__main__ import parse

    config = tmp_path / "c.toml"
    config.touch()
    words = ["--listen", "--port", str(free_port()), "--data", str(tmp_path), "--config", str(config)]
    main.run_launcher([*words, "--no-browser", "--safe-mode"])
    found = parse(became[0][3:])
    assert (found.host, found.listen, found.no_browser, found.safe_mode) == ("0.0.0.0", True, True, True)
    assert (found.config, found.data) == (config, str(tmp_path))


def test_a_taken_port_gives_the_next_free_one_and_says_so(
    became: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        main.run_launcher(["--port", str(taken), "--data", str(tmp_path)])
    port = int(became[0][became[0].index("--port") + 1])
    assert port > taken
    assert f"Port {taken} is taken by another program, so Easel uses {port}." in capsys.readouterr().out


def test_an_address_of_another_machine_is_one_sentence() -> None:
    with pytest.raises(SetupError) as refused:
        choose_port("192.0.2.1", 7860)
    assert refused.value.code == "port_taken"


def test_a_second_launch_on_the_same_folder_names_the_first(
    became: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with DataLock(tmp_path / "outputs" / ".easel") as lock:
        lock.acquire("http://127.0.0.1:7860")
        assert main.run_launcher(["--data", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "Easel already runs at http://127.0.0.1:7860" in said
    assert "[data_folder_in_use]" in said
    assert said.count("\n") == 1
    assert became == []


def test_a_broken_config_is_one_sentence(became: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run_launcher(["--config", "/nowhere/c.toml"]) == 1
    assert "[config_unreadable]" in capsys.readouterr().err


# --- other commands ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["get"])
def test_what_is_not_built_says_so(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run_launcher([command, "x"]) == 1
    assert (
        f"launch.py {command} is not built yet. It comes with a later version. [not_built_yet]"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("command", "module"),
    [("generate", "engine.cli.generate"), ("bench", "benchmarks"), ("merge", "engine.cli.merge")],
)
def test_commands_that_are_modules_exist(command: str, module: str, became: list[list[str]]) -> None:
    main.run_launcher([command, "a word"])
    assert became == [[sys.executable, "-m", module, "a word"]]
    assert importlib.util.find_spec(module) is not None


def test_the_folder_of_another_studio_is_meant_from_where_one_stands(
    became: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main.os.path, "abspath", lambda path: str(tmp_path / path))
    main.run_launcher(["import-paths", "../other", "--config", "c.toml"])
    assert became[0][3:] == [str(tmp_path / "../other"), "--config", str(tmp_path / "c.toml")]
    assert importlib.util.find_spec("engine.cli.import_paths") is not None


def run_module(command: str) -> Callable[[list[str]], int]:
    """What launch.py becomes for a command, or does itself."""
    modules: dict[str, Any] = {
        "generate": generate.main,
        "merge": merge.main,
        "import-paths": import_paths.main,
        "bench": benchmarks.main,
    }
    return modules.get(command) or (lambda words: main.run_launcher([command, *words]))


@pytest.mark.parametrize("command", ["doctor", "new-extension", "generate", "merge", "import-paths", "bench"])
def test_an_unknown_option_of_a_command_is_one_sentence(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    word = {"merge": ["recipe.json", "--out", "x"], "generate": ["a"], "import-paths": ["/x"], "new-extension": ["x"]}
    assert run_module(command)([*word.get(command, []), "--wat"]) == 1
    said = capsys.readouterr()
    assert said.err.strip().startswith(f"Easel: launch.py {command} has no option “--wat”.")
    assert (said.err.count("\n"), said.out) == (1, "")
    assert not (ROOT / "extensions" / "x").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["generate", "a", "--stepz", "4"], "Did you mean --steps?"),
        (["generate", "a", "--steps", "many"], "many"),
        (["generate"], "prompt"),
        (["merge", "recipe.json"], "--out"),
        (["doctor", "please"], "does not know what to do with “please”"),
        (["bench", "nothing"], "nothing"),
    ],
)
def test_other_words_that_are_wrong_are_one_sentence_too(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_module(words[0])(words[1:]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_no_selected_test_is_no_failure(installed: None, tmp_path: Path) -> None:
    (tmp_path / "test_nothing.py").write_text("def test_x(): pass\n")
    words = ["test", "-q", "-p", "no:cacheprovider", str(tmp_path), "--rootdir", str(tmp_path)]
    assert main.run_launcher([*words, "-k", "something_else"]) == 0
    (tmp_path / "test_nothing.py").write_text("def test_x(): assert 0\n")
    assert main.run_launcher(words) == 1


def test_doctor_looks_at_everything_and_fails_nobody(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "launch.py", "doctor"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    for word in ("system", "python", "processor", "disk", "gpu", "environment"):
        assert f"  {word} " in done.stdout
    assert (done.returncode == 0) == ("Everything is as it should be." in done.stdout)


def test_the_engine_computes_with_sleeping_threads_and_calls_nobody() -> None:
    found = engine_environment({"OMP_NUM_THREADS": "3", "HOME": "/h"})
    assert (found["OMP_WAIT_POLICY"], found["OMP_NUM_THREADS"], found["HOME"]) == ("passive", "3", "/h")
    assert (found["HF_HUB_OFFLINE"], found["GRADIO_ANALYTICS_ENABLED"]) == ("1", "False")
    assert engine_environment({"OMP_NUM_THREADS": "3"}, threads=5)["OMP_NUM_THREADS"] == "5"
    assert int(engine_environment({})["OMP_NUM_THREADS"]) >= 1


# --- new-extension -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "identity"),
    [
        ("Colour wheel", "colour-wheel"),
        ("  D3! ", "d3"),
        ("Über-Tool 2", "uber-tool-2"),
        ("Ünï", "uni"),
        ("a.b", "a-b"),
    ],
)
def test_an_id_out_of_a_name(name: str, identity: str) -> None:
    assert extension_id(name) == identity


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "NAME"),
        (["  "], "has no name"),
        (["123"], "does not begin with a letter"),
        (["猫"], "“猫” in “猫” cannot stand"),
        (["Straße"], "“ß” in “Straße” cannot stand"),
        (["../x"], "“../x” is a path"),
        (["a\\b"], "is a path"),
        (["..", "x"], "is a path"),
        (["a" * 41], "has 41 characters, and 40 are possible"),
    ],
)
def test_a_name_that_cannot_be_a_folder_is_one_sentence(words: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        new_extension(tmp_path, words)
    assert said in refused.value.message
    assert list(tmp_path.iterdir()) == []


def test_a_new_extension_works_at_once(tmp_path: Path) -> None:
    assert new_extension(tmp_path, ["My", '"quoted"', "Tab"]) == 0
    scan = load_extensions(tmp_path / "extensions")
    (card,) = scan.cards
    assert (card.id, card.state, card.reason) == ("my-quoted-tab", "on", "")
    assert [tab.title for tab in scan.loaded[0].host.tabs] == ["My quoted Tab"]
    with pytest.raises(ConfigError, match="already"):
        new_extension(tmp_path, ["my quoted tab"])


def test_the_tab_of_a_new_extension_is_on_the_page(tmp_path: Path) -> None:
    from engine.settings import Settings
    from webui.host import TabContext
    from webui.studio import build_studio

    new_extension(tmp_path, ["Fresh"])
    context = TabContext(client=None, settings=Settings())  # type: ignore[arg-type]
    blocks = build_studio(context, load_extensions(tmp_path / "extensions"))
    ids = {part["props"].get("elem_id") for part in blocks.get_config_file()["components"]}
    assert {"fresh-prompt", "fresh-paint"} <= ids
    assert (tmp_path / "extensions" / "fresh" / "tests" / "test_fresh.py").is_file()


# --- import-paths --------------------------------------------------------------------------------------------------


def test_folders_of_another_studio_are_added_and_comments_stay(tmp_path: Path) -> None:
    other = tmp_path / "stable-diffusion-webui"
    (other / "models" / "Stable-diffusion").mkdir(parents=True)
    (other / "models" / "Lora").mkdir()
    config = tmp_path / "config.toml"
    config.write_text((ROOT / "config.toml").read_text())
    said = import_paths.import_paths(other, config)
    assert str(other / "models" / "Lora") in said
    text = config.read_text()
    assert tomllib.loads(text)["paths"]["extra"] == [str(other)]
    assert [line for line in text.splitlines() if "extra = [" not in line or line.startswith("#")] == (
        (ROOT / "config.toml").read_text().splitlines()
    )
    assert "already" in import_paths.import_paths(other, config)
    assert tomllib.loads(config.read_text())["paths"]["extra"] == [str(other)]


def test_a_folder_of_nobody_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no model folders"):
        import_paths.import_paths(tmp_path, tmp_path / "config.toml")
    with pytest.raises(ConfigError, match="x does not exist"):
        import_paths.import_paths(tmp_path / "x", tmp_path / "config.toml")
    (tmp_path / "y").touch()
    with pytest.raises(ConfigError, match="y is a file, not a folder"):
        import_paths.import_paths(tmp_path / "y", tmp_path / "config.toml")
    assert not (tmp_path / "config.toml").exists()


# --- generate ------------------------------------------------------------------------------------------------------


def test_generates_options_become_a_spec(tmp_path: Path) -> None:
    words = ["a cat", "--steps", "4", "--width", "64", "--height", "72", "--seed", "7", "--guidance", "3.5"]
    more = ["--sampler", "ddim", "--model", "m", "--negative", "dog", "--out", "x.webp", "--data", str(tmp_path)]
    spec = generate.parse([*words, *more]).spec
    assert (spec.prompt, spec.negative_prompt, spec.steps, spec.width, spec.height) == ("a cat", "dog", 4, 64, 72)
    assert (spec.seed, spec.guidance, spec.sampler, spec.model) == (7, 3.5, "ddim", "m")
    assert spec.output.format == "webp"


def test_an_unknown_ending_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"\.png"):
        generate.parse(["a cat", "--out", "x.gif"])


def test_a_spec_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "engine.cli.generate", "a cat", "--steps", "0", "--data", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "[steps_out_of_range]" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
