"""config.toml as it lies on the disk. Standard library only: launch.py reads it before any package is there.

Every refusal of a settings file has one shape: the file's name, a colon, what is wrong; then what to do about it.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from engine.errors import ConfigError

_PLACE = re.compile(r" \(at (line \d+, column \d+|end of document)\)$")


def read_config(file: Path, *, named: bool) -> dict[str, Any]:
    """The file's tables, unchecked; {} where there is none.

    Args:
        named: whether somebody asked for this very file, so that it has to be there.

    Raises:
        ConfigError: `config_unreadable`.
    """
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if not named:
            return {}
        raise config_refusal("config_unreadable", file, "there is no such file", "Check --config.") from error
    except IsADirectoryError as error:
        raise config_refusal("config_unreadable", file, "that is a folder", "Name the file in it.") from error
    except OSError as error:
        why = f"it cannot be read: {error.strerror or error}"
        raise config_refusal("config_unreadable", file, why, "Check who may read it.") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        why = f"line {line} holds bytes that are not UTF-8 text"
        raise config_refusal("config_unreadable", file, why, "Save the file as UTF-8.") from error
    except tomllib.TOMLDecodeError as error:
        raise config_refusal("config_unreadable", file, _not_toml(str(error)), "Correct that line.") from error


def config_refusal(code: str, file: Path | str, why: str, hint: str) -> ConfigError:
    """The error of a settings file.

    Args:
        why: what is wrong, without the full stop. hint: a sentence.
    """
    return ConfigError(code, f"{Path(file).name}: {why}.", hint)


def _not_toml(message: str) -> str:
    """tomllib's "Expected ']' (at line 1, column 4)" with the place first."""
    place = _PLACE.search(message)
    where = place[1].replace("document", "the file") if place else "it"
    said = _PLACE.sub("", message).rstrip(".")
    return f"{where} is not TOML: {said[:1].lower()}{said[1:]}"
