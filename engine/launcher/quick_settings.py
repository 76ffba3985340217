"""The few settings that launch.py needs before any package is there; `engine.settings` checks the whole file later."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.config_file import read_config


@dataclass(frozen=True)
class QuickSettings:
    """Where the studio listens, and the folder whose lock says whether one runs already."""

    host: str
    port: int
    state_dir: Path


def read_quick_settings(root: Path, config: Path | None, data: Path | None) -> QuickSettings:
    """Read config.toml without checking it; values of a wrong type count as missing here and are reported later.

    Raises:
        ConfigError: `config_unreadable`.
    """
    raw = read_config(config or root / "config.toml", named=config is not None)
    named = _text(raw, "paths", "data")
    folder = data or (Path(named).expanduser().resolve() if named else root)
    outputs = folder / Path(_text(raw, "paths", "outputs") or "outputs").expanduser()
    port = _section(raw, "ui").get("port")
    return QuickSettings(
        host=_text(raw, "ui", "host") or "127.0.0.1",
        port=port if isinstance(port, int) and 1 <= port <= 65535 else 7860,
        state_dir=outputs / ".easel",
    )


def _section(raw: dict[str, Any], name: str) -> dict[str, Any]:
    section = raw.get(name)
    return section if isinstance(section, dict) else {}


def _text(raw: dict[str, Any], section: str, key: str) -> str:
    value = _section(raw, section).get(key)
    return value if isinstance(value, str) else ""
