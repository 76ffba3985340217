"""Memory: what is loaded and how large it is, how much room there is, and how hard memory is saved.

The script draws it from /api/v1/memory while the tab can be seen.
"""

from __future__ import annotations

from webui.components.live import live
from webui.host import TabContext, TabSpec


def tab() -> TabSpec:
    """The tab's entry for the studio."""
    return TabSpec("memory", "Memory", 70, build)


def build(context: TabContext) -> None:
    """Build the tab: one live element. The line under Generate is in `webui/components/prompt_box.py`."""
    live("easel-memory", elem_id="easel-memory-block")
