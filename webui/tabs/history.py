"""History: every picture ever made, searchable; the page script draws it."""

from __future__ import annotations

from webui.components.live import live
from webui.host import TabContext, TabSpec


def tab() -> TabSpec:
    """The tab's entry for the studio."""
    return TabSpec("history", "History", 60, build)


def build(context: TabContext) -> None:
    """Build the tab: one live element does it all, since pictures arrive while one looks."""
    live("easel-history", elem_id="easel-history-block")
