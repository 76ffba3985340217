"""Hub ids ("owner/name") in the catalogue: found in the local hub cache; Easel asks no server by itself."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_hub_id(text: str) -> bool:
    """Whether a catalogue path reads as a hub id and not as a file: two names and one slash, no model's suffix."""
    return bool(_HUB_ID.fullmatch(text)) and not text.endswith((".safetensors", ".ckpt", ".pt"))


def cached_snapshot(hub_id: str, environment: Mapping[str, str] | None = None) -> Path | None:
    """The newest copy of a hub model in this machine's cache, or None.

    Layout: `<cache>/models--owner--name/refs/main` names a commit, `snapshots/<commit>/` holds its files.
    """
    folder = cache_folder(os.environ if environment is None else environment) / f"models--{hub_id.replace('/', '--')}"
    snapshots = folder / "snapshots"
    try:
        commit = (folder / "refs" / "main").read_text(encoding="utf-8").strip()
        if re.fullmatch(r"[0-9a-f]{7,64}", commit) and (snapshots / commit).is_dir():
            return snapshots / commit
        copies = [copy for copy in snapshots.iterdir() if copy.is_dir()]
    except OSError:
        return None
    return max(copies, key=lambda copy: copy.stat().st_mtime, default=None)


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Where the hub's own tools keep models on this machine."""
    if named := environment.get("HF_HUB_CACHE") or environment.get("HUGGINGFACE_HUB_CACHE"):
        return Path(named).expanduser()
    home = environment.get("HF_HOME")
    if home:
        return Path(home).expanduser() / "hub"
    return Path(environment.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "huggingface" / "hub"
