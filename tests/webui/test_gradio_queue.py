"""Gradio looks at its empty queue seldom: the page must not take the engine's cores while nobody does anything."""

from __future__ import annotations

import gradio as gr

from webui import app


def test_the_queue_still_has_the_pauses_that_we_lengthen() -> None:
    """Gradio's names for them are its own: under other names ours would do nothing."""
    queue = gr.Blocks()._queue
    assert 0 < queue.sleep_when_free <= app._GRADIO_LOOK
    assert 0 < queue.progress_update_sleep_when_free <= app._GRADIO_PROGRESS
