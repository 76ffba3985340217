"""Builds an extension's piece of the page so that a failure leaves nothing behind.

The piece is built in a page of its own and moved into the studio only when it is whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import gradio as gr
from gradio.context import Context

from engine.extension_folder import guard
from webui.extension_loader import say_broken
from webui.host import TabContext

Built = TypeVar("Built")


@dataclass(frozen=True)
class Piece(Generic[Built]):
    """A piece that was built: `place()` moves it to where the page is being built now."""

    result: Built
    page: gr.Blocks

    def place(self) -> None:
        """Put the piece here."""
        self.page.render()


def build_apart(context: TabContext, extension: str, build: Callable[[], Built]) -> Piece[Built] | None:
    """What `build` makes, not placed yet; None when it raised, and the extension's card then says why."""
    results: list[Built] = []
    root, block = Context.root_block, Context.block
    Context.root_block = Context.block = None
    try:
        with gr.Blocks(analytics_enabled=False) as page:
            reason, detail = guard(lambda: results.append(build()))
    finally:
        Context.root_block, Context.block = root, block
    if reason:
        _mark_broken(context, extension, reason, detail)
        return None
    return Piece(results[0], page)


def _mark_broken(context: TabContext, extension: str, reason: str, detail: str) -> None:
    """Turn the extension's card into one that says what went wrong."""
    for place, card in enumerate(context.cards):
        if card.id == extension and card.state == "on":
            context.cards[place] = replace(card, state="broken", reason=reason, detail=detail, adds=())
            say_broken(context.cards[place])
