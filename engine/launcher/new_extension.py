"""`launch.py new-extension NAME`: a working extension to start from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from engine.errors import ConfigError

TEMPLATE = Path(__file__).resolve().parent / "extension_template"
USAGE = 'Usage: launch.py new-extension NAME, for example: launch.py new-extension "Colour wheel"'


def new_extension(root: Path, words: Sequence[str]) -> int:
    """Write `extensions/<id>/` from the template and say what to do next.

    Raises:
        ConfigError: `config_bad_value` for a name that gives no id, or an id that exists.
    """
    name = " ".join(word for word in words if not word.startswith("-")).strip()
    if not name:
        raise ConfigError("config_bad_value", "The new extension has no name.", USAGE)
    identity = extension_id(name)
    folder = root / "extensions" / identity
    if folder.exists():
        raise ConfigError(
            "config_bad_value", f"There is an extension {identity} already, in {folder}.", "Choose another name."
        )
    values = {"@ID@": identity, "@NAME@": _quotable(name), "@MODULE@": identity.replace("-", "_")}
    for source in sorted(TEMPLATE.rglob("*.txt")):
        target = folder / _filled(str(source.relative_to(TEMPLATE)).removesuffix(".txt"), values)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_filled(source.read_text(encoding="utf-8"), values), encoding="utf-8")
    print(
        f"The extension “{name}” is in {folder}.\n"
        f"Start Easel to see its tab; change {folder / 'ui.py'} to make it yours.\n"
        f"Its test: python3 launch.py test extensions/{identity}"
    )
    return 0


def extension_id(name: str) -> str:
    """An id out of a name: lower case, digits and hyphens, beginning with a letter.

    Raises:
        ConfigError: `config_bad_value` where nothing is left.
    """
    identity = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    identity = re.sub(r"^[^a-z]+", "", identity)[:40].strip("-")
    if not identity:
        raise ConfigError("config_bad_value", f"No id can be made out of the name {name!r}.", "Use some letters a–z.")
    return identity


def _filled(text: str, values: dict[str, str]) -> str:
    for mark, value in values.items():
        text = text.replace(mark, value)
    return text


def _quotable(name: str) -> str:
    """The name as it may stand between double quotes in TOML and Python."""
    return re.sub(r'["\\\x00-\x1f]', "", name)
