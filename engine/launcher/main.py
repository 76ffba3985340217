"""What launch.py was asked to do, done."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from engine import platform
from engine.client.data_lock import current_holder, in_use_error
from engine.errors import SpecError, StudioError
from engine.launcher.environment import Environment, ensure
from engine.launcher.options import Options, parse
from engine.launcher.ports import choose_port
from engine.launcher.quick_settings import read_quick_settings
from engine.launcher.threads import engine_environment

ROOT = Path(__file__).resolve().parents[2]
NO_TESTS_SELECTED = 5


def run_launcher(arguments: Sequence[str]) -> int:
    """Do what the arguments ask for; the exit status. A `StudioError` becomes its sentence and status 1."""
    try:
        options = parse(list(arguments))
        return _COMMANDS[options.command](options)
    except StudioError as error:
        sys.stderr.write(f"Easel: {error} [{error.code}]\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped. Start again, and it goes on from here.\n")
        return 130


def _run(options: Options) -> int:
    """Open the studio: this process becomes the web process."""
    environment = ensure(ROOT, options.torch)
    quick = read_quick_settings(ROOT, options.config, options.data)
    holder = current_holder(quick.state_dir)
    if holder is not None:
        raise in_use_error(quick.state_dir, holder)
    host = "0.0.0.0" if options.listen else quick.host
    port, said = choose_port(host, options.port or quick.port)
    if said:
        print(said, flush=True)
    arguments = ["--host", host, "--port", str(port)]
    if options.config:
        arguments += ["--config", str(options.config)]
    if options.data:
        arguments += ["--data", str(options.data)]
    arguments += ["--listen"] * options.listen
    arguments += ["--no-browser"] * (not options.browser)
    arguments += ["--safe-mode"] * options.safe_mode
    return _become(environment, "webui", arguments)


def _test(options: Options) -> int:
    """Run pytest. Without arguments everything, spread over processes of one thread each."""
    environment = ensure(ROOT, options.torch, tests=True)
    arguments = list(options.rest)
    workers = min(platform.physical_cores(), 8)
    if not arguments and workers > 1:
        arguments = ["-n", str(workers), "--dist", "loadfile"]
    variables = _environment({"OMP_NUM_THREADS": "1", **os.environ})
    status = subprocess.run(
        [str(environment.python), "-m", "pytest", *arguments], cwd=ROOT, env=variables, check=False
    ).returncode
    if status == NO_TESTS_SELECTED:
        print("No test was selected, so none failed.", flush=True)
        return 0
    return status


def _module(name: str) -> Callable[[Options], int]:
    """A command that is a module of Easel, run inside the environment with the words behind it."""

    def run(options: Options) -> int:
        words = _absolute(options.rest, folders=options.command == "import-paths")
        return _become(ensure(ROOT, options.torch), name, words)

    return run


def _new_extension(options: Options) -> int:
    from engine.launcher.new_extension import new_extension

    return new_extension(ROOT, options.rest)


def _doctor(options: Options) -> int:
    from engine.launcher.doctor import doctor

    return doctor(ROOT, options.rest)


def _not_built_yet(options: Options) -> int:
    raise SpecError("not_built_yet", f"launch.py {options.command} is not built yet.", "It comes with a later version.")


_COMMANDS: dict[str, Callable[[Options], int]] = {
    "run": _run,
    "test": _test,
    "generate": _module("engine.cli.generate"),
    "doctor": _doctor,
    "bench": _module("benchmarks"),
    "new-extension": _new_extension,
    "import-paths": _module("engine.cli.import_paths"),
    "merge": _module("engine.cli.merge"),
    "get": _not_built_yet,
}


def _become(environment: Environment, module: str, arguments: Sequence[str]) -> int:
    """Replace this process by `python -m module`; the current folder becomes Easel's own."""
    os.chdir(ROOT)
    platform.become([str(environment.python), "-m", module, *arguments], _environment(os.environ))


def _environment(base: Mapping[str, str]) -> dict[str, str]:
    """With the engine's threads too: `generate` and `bench` may run an engine in their own process."""
    variables = engine_environment(base)
    # Packages that the user keeps elsewhere must not shadow the pinned ones.
    variables["PYTHONNOUSERSITE"] = "1"
    return variables


def _absolute(words: Sequence[str], *, folders: bool = False) -> list[str]:
    """The words with the values of path options made absolute, since the current folder changes.

    Args:
        folders: words that are no option are paths too.
    """
    paths = ("--out", "--config", "--data", "--json")
    made: list[str] = []
    for at, word in enumerate(words):
        name, equals, value = word.partition("=")
        file = word.endswith((".json", ".safetensors")) and os.path.isfile(word)
        if file or (at and words[at - 1] in paths) or (folders and not word.startswith("-")):
            made.append(os.path.abspath(os.path.expanduser(word)))
        elif equals and name in paths:
            made.append(f"{name}={os.path.abspath(os.path.expanduser(value))}")
        else:
            made.append(word)
    return made
