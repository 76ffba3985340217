"""A data folder with a tiny real model in it, and the settings to run an engine on it."""

from __future__ import annotations

from pathlib import Path

from engine.settings import Settings, load_settings
from tests.support.tiny_models import write_tiny_sd1

TINY = "tiny-sd1"

CONFIG = """\
[engine]
default_model = "{model}"
preview_interval = 0.0001
snapshot_interval = {snapshot}
heartbeat_timeout = {heartbeat}
[ui]
open_browser = false
"""


def make_data(folder: Path, *, snapshot: float = 5.0, heartbeat: float = 15.0, model: str = TINY) -> Path:
    """Write `models/checkpoints/tiny-sd1` and a config file under `folder`; returns the config's path."""
    target = folder / "models" / "checkpoints" / TINY
    if not target.exists():
        write_tiny_sd1(target)
    config = folder / "config.toml"
    config.write_text(CONFIG.format(model=model, snapshot=snapshot, heartbeat=heartbeat))
    return config


def make_settings(folder: Path, **options: float) -> Settings:
    """Settings for a fresh data folder; see `make_data`."""
    return load_settings(make_data(folder, **options), data=str(folder))  # type: ignore[arg-type]
