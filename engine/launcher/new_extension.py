"""`launch.py new-extension NAME`: a working extension to start from."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from engine.errors import ConfigError
from engine.launcher.command_parser import CommandParser

TEMPLATE = Path(__file__).resolve().parent / "extension_template"
LONGEST_NAME = 40
_ADVICE = "Use letters a–z, digits and spaces, for example “Colour wheel”."


def new_extension(root: Path, words: Sequence[str]) -> int:
    """Write `extensions/<id>/` from the template and say what to do next.

    Raises:
        ConfigError: `config_bad_value` for a name that gives no id, an id that exists, or an option.
    """
    parser = CommandParser("new-extension", description=__doc__)
    parser.add_argument("name", nargs="+", metavar="NAME", help="for example “Colour wheel”")
    name = " ".join(parser.parse_args(words).name).strip()
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
    """An id out of a name, which is its folder too: lower case, digits and hyphens, beginning with a letter.

    Accents are left out ("Ünï" is "uni"), signs between words become hyphens.

    Raises:
        ConfigError: `config_bad_value` for a path, for letters that have no like in a–z, for a name that is empty, too
            long, or does not begin with a letter.
    """
    plain = "".join(sign for sign in unicodedata.normalize("NFKD", name.strip()) if not unicodedata.combining(sign))
    if "/" in plain or "\\" in plain or plain.startswith("."):
        raise _refused(f"“{name[:60]}” is a path, and the name of an extension is wanted")
    lost = [sign for sign in plain if sign.isalnum() and not sign.isascii()]
    if lost:
        raise _refused(f"“{lost[0]}” in “{name[:60]}” cannot stand in the name of an extension's folder")
    if len(plain) > LONGEST_NAME:
        raise _refused(f"The name has {len(plain)} characters, and {LONGEST_NAME} are possible")
    identity = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")
    if not identity[:1].isalpha():
        raise _refused(f"“{name[:60]}” does not begin with a letter" if identity else "The new extension has no name")
    return identity


def _refused(message: str) -> ConfigError:
    return ConfigError("config_bad_value", f"{message}.", _ADVICE)


def _filled(text: str, values: dict[str, str]) -> str:
    for mark, value in values.items():
        text = text.replace(mark, value)
    return text


def _quotable(name: str) -> str:
    """The name as it may stand between double quotes in TOML and Python."""
    return re.sub(r'["\\\x00-\x1f]', "", name)
