"""The example extension: what an author's `ui.py` looks like. docs/extensions.md goes through it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import gradio as gr

from engine.protocol.commands import SubmitJob
from engine.protocol.specs import GenerationSpec
from webui.host import ExtensionHost, Reply, SettingField, TabContext

from .ideas import ideas


def register(host: ExtensionHost) -> None:
    """Called once when Easel starts: say what this extension adds."""
    host.tab("Hello", build_tab, order=700)
    host.panel("Hello: a note for the picture", build_panel)
    host.settings(
        [
            SettingField("count", "Ideas at a time", 4, "How many pictures “Surprise me” makes up.", low=1, high=30),
            SettingField("mood", "Mood", "", info="Words added to every idea, for example: cheerful."),
        ]
    )


def build_tab(context: TabContext) -> None:
    """A tab is ordinary Gradio. Handlers are short and ask the engine through `context.client`."""
    page = context.bridge()
    with gr.Column(elem_classes="easel-card easel-narrow"):
        gr.Markdown("### Surprise me\nMakes up some things to paint. Change them if you like, then paint them all.")
        prompts = gr.Textbox(label="Ideas, one a line", lines=6, elem_id="hello-ideas")
        with gr.Row():
            surprise = gr.Button("Surprise me", elem_id="hello-surprise")
            paint = gr.Button("Paint them", variant="primary", elem_id="hello-paint")

    async def make_up(request: gr.Request) -> str:
        values = await context.extension_values("hello", request)
        return "\n".join(ideas(values["count"], random.randrange(2**31), values["mood"]))

    async def paint_all(text: str, request: gr.Request) -> Reply:
        lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
        if not lines:
            return Reply(messages=({"kind": "say", "text": "There are no ideas yet: press “Surprise me” first."},))
        for line in lines:
            await context.client.call(SubmitJob(owner=context.owner(request), spec=GenerationSpec(prompt=line)))
        said = f"{len(lines)} pictures queued." if len(lines) > 1 else "1 picture queued."
        return Reply(messages=({"kind": "say", "text": said}, {"kind": "show_form"}))

    page.on(surprise.click, make_up, (), (prompts,))
    page.on(paint.click, paint_all, (prompts,))


def build_panel(context: TabContext) -> Mapping[str, Any]:
    """Fields of a panel travel in the spec, under this extension's id, and are stored with every picture."""
    note = gr.Textbox(
        label="Note", info="Kept in the picture's settings; comes back with them.", elem_id="hello-note", max_lines=3
    )
    return {"note": note}
