"""Builds the page: the bar, the core tabs and the extensions' tabs, all through the same TabSpec.

`build_studio` makes the Blocks; `mount_options` are the keyword arguments for `gr.mount_gradio_app` that give it its
look and its script. Static files lie in `STATIC_DIR` and are expected under `/static/`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from engine.settings import ROOT, Settings
from webui.components.bridge import PageBridge
from webui.components.live import live
from webui.context import Discretion, private_folders
from webui.extension_loader import ExtensionScan, load_extensions
from webui.gate import is_local
from webui.guarded_build import build_apart
from webui.host import TabContext, TabSpec
from webui.tabs import adapters, controlnet, extensions, history, memory, merge, settings, txt2img
from webui.theme import studio_theme

STATIC_DIR = Path(__file__).resolve().parent / "static"
EXTENSIONS_DIR = ROOT / "extensions"


def core_tabs() -> list[TabSpec]:
    """The tabs that ship with Easel; a new one is a new file and a line here."""
    return [
        txt2img.tab(),
        adapters.tab(),
        controlnet.tab(),
        merge.tab(),
        history.tab(),
        memory.tab(),
        extensions.tab(),
        settings.tab(),
    ]


def scan_extensions(config: Settings, *, safe_mode: bool = False, root: Path = EXTENSIONS_DIR) -> ExtensionScan:
    """Load what is in `extensions/`, except what config.toml switches off; nothing at all in safe mode."""
    return load_extensions(root, disabled=config.extensions.disabled, safe_mode=safe_mode)


def build_studio(
    context: TabContext, scan: ExtensionScan | None = None, tabs: Sequence[TabSpec] | None = None
) -> gr.Blocks:
    """The whole page.

    Args:
        context: a TabContext with `client` and `settings`; its lists and its page bridge are filled in here.
        scan: what `scan_extensions` found; None means no extensions.
        tabs: the core tabs (all of them by default).
    """
    scan = scan or ExtensionScan((), ())
    context.cards.extend(scan.cards)
    core = list(tabs if tabs is not None else core_tabs())
    owners: dict[str, str] = {}
    added: list[TabSpec] = []
    for extension in scan.loaded:
        context.panels.extend(extension.host.panels)
        context.setting_groups.extend(extension.host.setting_groups)
        added.extend(extension.host.tabs)
        owners.update({tab.id: extension.host.id for tab in extension.host.tabs})
    with gr.Blocks(title="Easel", analytics_enabled=False, fill_width=True) as blocks:
        # The first component: everything else may be wired to it.
        context.page = PageBridge(_cleaner(context.settings))
        live("easel-bar", elem_id="easel-bar-block")
        with gr.Tabs(elem_id="easel-tabs"):
            for tab in sorted([*core, *added], key=lambda tab: tab.order):
                _place(context, tab, owners.get(tab.id))
        context.page.wire_loads(blocks)
    return blocks


def _place(context: TabContext, tab: TabSpec, extension: str | None) -> None:
    """One tab. An extension's tab is built apart and placed only when it is whole."""
    piece = build_apart(context, extension, lambda: tab.build(context)) if extension else None
    if extension and piece is None:
        return
    with gr.Tab(tab.title, id=tab.id, elem_id=f"easel-tab-{tab.id}", render_children=True):
        if piece:
            piece.place()
        else:
            tab.build(context)


def _cleaner(config: Settings) -> Callable[[gr.Request, str], str]:
    """Texts that go to another machine do not name this machine's folders."""
    discretion = Discretion(private_folders(config))

    def clean(request: gr.Request, text: str) -> str:
        return text if is_local(request.request.scope) else discretion.clean(text)

    return clean


def mount_options(config: Settings) -> dict[str, Any]:
    """Keyword arguments for `gr.mount_gradio_app`: look, script, and nothing of Gradio's own around it."""
    return {
        "theme": studio_theme(),
        "head": _head(config),
        "footer_links": [],
        "run_history": False,
        "ssr_mode": False,
        "mcp_server": False,
        "enable_monitoring": False,
        "favicon_path": str(STATIC_DIR / "favicon.svg"),
        "show_error": True,
    }


def _head(config: Settings) -> str:
    return (
        f'<meta name="easel-theme" content="{config.ui.theme}">'
        '<link rel="stylesheet" href="/static/studio.css">'
        '<link rel="stylesheet" href="/static/adapters.css">'
        '<link rel="stylesheet" href="/static/controls.css">'
        '<link rel="stylesheet" href="/static/merge.css">'
        '<link rel="stylesheet" href="/static/memory.css">'
        '<script type="module" src="/static/studio.js"></script>'
    )
