"""Builds an extension's piece of the page so that a failure leaves nothing behind.

The piece is built in a page of its own and moved into the studio only when it is whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import gradio as gr
from gradio.context import Context

from webui.extension_loader import guard
from webui.host import TabContext

Piece = TypeVar("Piece")


def build_guarded(context: TabContext, extension: str, build: Callable[[], Piece]) -> Piece | None:
    """What `build` returns, its components placed here; None when it raised, and the extension's card says why."""
    results: list[Piece] = []
    root, block = Context.root_block, Context.block
    Context.root_block = Context.block = None
    try:
        with gr.Blocks(analytics_enabled=False) as scratch:
            reason, detail = guard(lambda: results.append(build()))
    finally:
        Context.root_block, Context.block = root, block
    if reason:
        mark_broken(context, extension, reason, detail)
        return None
    reason, detail = guard(scratch.render)
    if reason:
        mark_broken(context, extension, reason, detail)
        return None
    return results[0]


def mark_broken(context: TabContext, extension: str, reason: str, detail: str) -> None:
    """Turn the extension's card into one that says what went wrong."""
    for place, card in enumerate(context.cards):
        if card.id == extension and card.state == "on":
            context.cards[place] = replace(card, state="broken", reason=reason, detail=detail, adds=())
