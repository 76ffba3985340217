"""The text of one ControlNet unit in A1111's infotext: `Title Case Field: value` joined by ", "."""

from __future__ import annotations

import re
from collections.abc import Mapping

# A field begins at the start or after ", "; its name has no comma, colon or bracket. Commas inside a value that does
# not begin another field stay in the value, so `lineart_standard (from white bg & black line)` survives.
_FIELD = re.compile(r"(?:^|, )([A-Z][\w\- ]{1,60}+):\s?")
_OLD_FORM = re.compile(
    r"(?:^|, )(preprocessor|model|weight|starting/ending|resize mode|pixel perfect|control mode|preprocessor params):"
)
_OLD_NAMES = {
    "preprocessor": "Module",
    "model": "Model",
    "weight": "Weight",
    "resize mode": "Resize Mode",
    "pixel perfect": "Pixel Perfect",
    "control mode": "Control Mode",
    "preprocessor params": "Preprocessor Params",
}
MAX_UNIT = 20_000


def parse_control_unit(text: str) -> dict[str, str]:
    """Fields by name, in the order of the text; the older lower-case form gets today's names. Empty for other text."""
    text = text[:MAX_UNIT]
    old = _OLD_FORM.match(text) is not None
    matches = list((_OLD_FORM if old else _FIELD).finditer(text))
    fields: dict[str, str] = {}
    for match, following in zip(matches, [*matches[1:], None], strict=True):
        value = text[match.end() : following.start() if following else len(text)].strip()
        name = match.group(1)
        if name == "starting/ending":
            start, _, end = value.strip("()").partition(",")
            fields["Guidance Start"], fields["Guidance End"] = start.strip(), end.strip()
        else:
            fields[_OLD_NAMES.get(name, name) if old else name] = value
    return fields


def write_control_unit(fields: Mapping[str, str]) -> str:
    """The text of a unit; fields with the value -1 are left out, as A1111 does.

    Unlike A1111, a comma or colon in a value loses nothing: `parse_control_unit` reads it back, unless the value itself
    looks like the start of another field.
    """
    return ", ".join(f"{name}: {value}" for name, value in fields.items() if value not in ("-1", "-1.0"))
