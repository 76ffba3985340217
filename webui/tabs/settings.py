"""Settings: those of extensions can be changed here, those of the studio are shown with what they mean."""

from __future__ import annotations

from typing import Any

import gradio as gr

from webui.components.bridge import Reply
from webui.components.settings_table import settings_table
from webui.host import SettingField, SettingGroup, TabContext, TabSpec


def tab() -> TabSpec:
    """The tab's entry for the studio."""
    return TabSpec("settings", "Settings", 950, build)


def build(context: TabContext) -> None:
    """Build the tab."""
    for group in context.setting_groups:
        _group(context, group)
    gr.Markdown(
        "The studio's settings, as they are in force. They are changed in `config.toml`, which explains each; start "
        "Easel again afterwards.",
        elem_classes="easel-lead",
    )
    table = gr.HTML(html_template="${value}", js_on_load=None, apply_default_css=False, elem_id="easel-settings")
    page = context.bridge()
    page.on_load(lambda request: page.clean(request, settings_table(context.settings)), [table])


def _group(context: TabContext, group: SettingGroup) -> None:
    with gr.Column(elem_classes="easel-card easel-narrow"):
        gr.Markdown(f"### {group.title}")
        widgets = [setting_widget(group.extension, field) for field in group.fields]
        save = gr.Button("Save", size="sm", elem_id=f"easel-save-{group.extension}")
    names = [field.name for field in group.fields]

    async def keep(*rest: Any) -> Reply:
        values, request = rest[:-1], rest[-1]
        await context.save_extension_values(group.extension, dict(zip(names, values, strict=True)), request)
        return Reply(messages=({"kind": "say", "text": f"Settings of {group.title} kept."},))

    async def show(data: Any, *rest: Any) -> Reply:
        values = await context.extension_values(group.extension, rest[-1])
        return Reply(tuple(gr.update(value=values[name]) for name in names))

    page = context.bridge()
    page.on(save.click, keep, widgets)
    page.on_signal("attach", show, (), widgets)


def setting_widget(extension: str, field: SettingField) -> Any:
    """The widget that follows from the kind of the default value."""
    common = {"label": field.label, "info": field.info or None, "elem_id": f"easel-ext-{extension}-{field.name}"}
    if field.choices:
        return gr.Dropdown(list(field.choices), value=field.default, **common)
    if isinstance(field.default, bool):
        return gr.Checkbox(field.default, **common)
    if isinstance(field.default, (int, float)):
        return gr.Number(field.default, precision=0 if isinstance(field.default, int) else None, **common)
    return gr.Textbox(field.default, **common)
