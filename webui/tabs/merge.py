"""Merge: new files out of adapters and checkpoints; the script draws it, and asks /api/v1/merges."""

from __future__ import annotations

from webui.components.live import live
from webui.host import TabContext, TabSpec


def tab() -> TabSpec:
    """The tab's entry for the studio."""
    return TabSpec("merge", "Merge", 30, build)


def build(context: TabContext) -> None:
    """Build the tab: one live element, because what is merged goes on while the page is closed."""
    live("easel-merge", elem_id="easel-merge-block")
