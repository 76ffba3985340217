"""CommandParser: the words behind a command of launch.py, refused in one sentence. Standard library only."""

from __future__ import annotations

import argparse
import difflib
from typing import Any, NoReturn

from engine.errors import ConfigError

_UNKNOWN = "unrecognized arguments: "


class CommandParser(argparse.ArgumentParser):
    """An `ArgumentParser` that raises `config_bad_value` instead of writing its usage and ending the process.

    Args:
        command: as it stands behind launch.py.
    """

    def __init__(self, command: str, **options: Any) -> None:
        super().__init__(prog=f"launch.py {command}", allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Raise the sentence for what argparse found, or for what a command itself refuses."""
        hint = f"{self.prog} --help names what there is."
        if not message.startswith(_UNKNOWN):
            raise ConfigError("config_bad_value", f"{self.prog}: {message.rstrip('.')}.", hint)
        word = message.removeprefix(_UNKNOWN).split()[0]
        if not word.startswith("-"):
            raise ConfigError("config_bad_value", f"{self.prog} does not know what to do with “{word[:60]}”.", hint)
        known = [option for action in self._actions for option in action.option_strings]
        near = difflib.get_close_matches(word.partition("=")[0].lower(), known, n=1, cutoff=0.6)
        hint = f"Did you mean {near[0]}?" if near else hint
        raise ConfigError("config_bad_value", f"{self.prog} has no option “{word[:60]}”.", hint)
