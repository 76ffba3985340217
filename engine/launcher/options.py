"""The command line of launch.py."""

from __future__ import annotations

import argparse
import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from engine.errors import ConfigError

TorchChoice = Literal["auto", "cpu", "cuda", "rocm"]
TORCH_CHOICES: tuple[TorchChoice, ...] = ("auto", "cpu", "cuda", "rocm")
COMMANDS = {
    "test": "set up and run the tests; anything behind it goes to pytest",
    "generate": 'make a picture without a browser: generate "a red fox" --steps 20 --out fox.png',
    "doctor": "look at this machine and this installation, and say what is wrong",
    "bench": "run the benchmarks: bench [NAME] [--json FILE]",
    "new-extension": "write a working extension to start from: new-extension NAME",
    "import-paths": "use the model folders of another studio in place: import-paths FOLDER",
    "merge": "merge adapters or models by a recipe: merge RECIPE.json --out FILE",
    "get": "fetch a model (not built yet)",
}
# As `_parser` adds them; a misspelt one is told the nearest.
OPTIONS = ("--help", "--listen", "--port", "--no-browser", "--config", "--data", "--safe-mode", "--torch")


@dataclass(frozen=True)
class Options:
    """What was asked for. Paths are absolute; `rest` goes to the command as it is."""

    command: str = "run"
    torch: TorchChoice = "auto"
    listen: bool = False
    port: int | None = None
    browser: bool = True
    config: Path | None = None
    data: Path | None = None
    safe_mode: bool = False
    rest: tuple[str, ...] = field(default=())


def parse(arguments: list[str]) -> Options:
    """Read the command line. Exits with a usage text for `--help` and for values that an option cannot have.

    Raises:
        ConfigError: `config_bad_value` for a command, an option or a value of `--torch` that does not exist.
    """
    torch, arguments = _take_torch(arguments)
    if arguments and arguments[0] in COMMANDS:
        return Options(command=arguments[0], torch=torch, rest=tuple(arguments[1:]))
    found, left = _parser().parse_known_args(arguments)
    if left:
        raise _not_known(left[0])
    return Options(
        torch=torch,
        listen=found.listen,
        port=found.port,
        browser=not found.no_browser,
        config=found.config.expanduser().resolve() if found.config else None,
        data=found.data.expanduser().resolve() if found.data else None,
        safe_mode=found.safe_mode,
    )


def _not_known(word: str) -> ConfigError:
    """What to tell about a word that is neither a command nor an option."""
    if word in COMMANDS:
        hint = f"The command comes first: launch.py {word} …"
        return ConfigError("config_bad_value", f"“{word}” stands behind an option.", hint)
    kind, known = ("option", OPTIONS) if word.startswith("-") else ("command", tuple(COMMANDS))
    near = difflib.get_close_matches(word.partition("=")[0].lower(), known, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]}?" if near else "launch.py --help names them; without a command the studio opens."
    return ConfigError("config_bad_value", f"launch.py has no {kind} “{word[:60]}”.", hint)


def _take_torch(arguments: list[str]) -> tuple[TorchChoice, list[str]]:
    """`--torch X` counts before and behind every command, so it is taken out first."""
    rest: list[str] = []
    choice = "auto"
    waiting = iter(arguments)
    for argument in waiting:
        if argument == "--torch":
            choice = next(waiting, "")
        elif argument.startswith("--torch="):
            choice = argument.removeprefix("--torch=")
        else:
            rest.append(argument)
    if choice not in TORCH_CHOICES:
        raise ConfigError(
            "config_bad_value", f"--torch {choice} does not exist.", f"Choose one of {', '.join(TORCH_CHOICES)}."
        )
    return choice, rest


def _parser() -> argparse.ArgumentParser:
    width = max(len(name) for name in COMMANDS)
    commands = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="launch.py",
        description="Set Easel up, if that was not done yet, and open the studio.",
        epilog=f"commands, instead of opening the studio:\n{commands}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--listen", action="store_true", help="let others on the network in (asks for a password)")
    parser.add_argument("--port", type=_port, metavar="N", help="port of the studio (7860)")
    parser.add_argument("--no-browser", action="store_true", help="do not open the page")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings file (config.toml)")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="folder for pictures and your models")
    parser.add_argument("--safe-mode", action="store_true", help="load no extensions")
    parser.add_argument("--torch", metavar="BUILD", help="PyTorch build: auto, cpu, cuda or rocm (auto)")
    return parser


def _port(text: str) -> int:
    try:
        port = int(text)
    except ValueError:
        port = 0
    if not 1 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 1 to 65535, not {text!r}")
    return port
