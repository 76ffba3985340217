"""The studio's settings as they are in force, with what each is for."""

from __future__ import annotations

from html import escape
from typing import Any

from pydantic import BaseModel

from engine.settings import Settings

# Values that are nobody's business on a page.
HIDDEN = frozenset({"password"})


def settings_table(settings: Settings) -> str:
    """HTML tables, one for each section of config.toml."""
    return "".join(
        _section(name, getattr(settings, name))
        for name in type(settings).model_fields
        if name not in ("catalogue", "extensions")
    )


def _section(name: str, section: BaseModel) -> str:
    rows = "".join(
        f"<tr><th scope='row'><code>{escape(key)}</code></th><td>{_value(key, getattr(section, key))}</td>"
        f"<td>{escape(field.description or '')}</td></tr>"
        for key, field in type(section).model_fields.items()
    )
    return (
        f'<h3 class="easel-section">[{escape(name)}]</h3><div class="easel-scroll">'
        f'<table class="easel-table"><tbody>{rows}</tbody></table></div>'
    )


def _value(key: str, value: Any) -> str:
    if key in HIDDEN:
        return "set" if value else "not set"
    if value == "" or value == ():
        return '<span class="easel-quiet">none</span>'
    if isinstance(value, bool):
        return "yes" if value else "no"
    return escape(", ".join(map(str, value)) if isinstance(value, tuple) else str(value))
