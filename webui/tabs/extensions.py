"""Extensions: what is installed, what each adds, and why one does not run."""

from __future__ import annotations

import gradio as gr

from engine.errors import StudioError
from engine.protocol.extensions import ListEngineHalves
from webui.components.extension_cards import extension_cards, with_engine_halves
from webui.host import TabContext, TabSpec


def tab() -> TabSpec:
    """The tab's entry for the studio."""
    return TabSpec("extensions", "Extensions", 900, build)


def build(context: TabContext) -> None:
    """Build the tab. The cards are read when a page loads: a tab built later may still fail."""
    gr.Markdown(
        "Extensions live in the folder `extensions/`. One that fails is shown here with the reason; the studio goes on "
        "without it. To switch one off, add its id to `[extensions] disabled` in `config.toml` and start Easel again; "
        "`--safe-mode` starts without any.",
        elem_classes="easel-lead",
    )
    cards = gr.HTML(html_template="${value}", js_on_load=None, apply_default_css=False, elem_id="easel-extension-cards")
    page = context.bridge()

    async def shown(request: gr.Request) -> object:
        told = None
        try:
            told = await context.client.call(ListEngineHalves())
        except StudioError:
            # The engine is not there: its halves are not told then.
            told = None
        return page.clean(request, extension_cards(with_engine_halves(context.cards, told)))

    page.on_load(shown, [cards])
