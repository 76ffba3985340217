"""Settings: those of extensions can be changed here, those of the studio are shown with what they mean."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from engine.errors import SpecError
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
        widgets, faults = [], []
        for field in group.fields:
            widgets.append(setting_widget(group.extension, field))
            faults.append(_fault_line(group.extension, field))
        save = gr.Button("Save", size="sm", elem_id=f"easel-save-{group.extension}")
    names = [field.name for field in group.fields]

    async def keep(*rest: Any) -> Reply:
        values, request = rest[:-1], rest[-1]
        told = [_fault(field, value) for field, value in zip(group.fields, values, strict=True)]
        if not any(told):
            await context.save_extension_values(group.extension, dict(zip(names, values, strict=True)), request)
        said = f"Settings of {group.title} {'are not kept: one cannot be as it stands' if any(told) else 'kept'}."
        lines = tuple(gr.update(value=escape(text), visible=bool(text)) for text in told)
        return Reply(lines, ({"kind": "say", "text": said},))

    async def show(data: Any, *rest: Any) -> Reply:
        values = await context.extension_values(group.extension, rest[-1])
        quiet = (gr.update(value="", visible=False) for _ in names)
        return Reply((*(gr.update(value=values[name]) for name in names), *quiet))

    page = context.bridge()
    page.on(save.click, keep, widgets, faults)
    page.on_signal("attach", show, (), [*widgets, *faults])


def _fault(field: SettingField, value: Any) -> str:
    """Why the value cannot be kept, or nothing."""
    try:
        field.checked(value)
    except SpecError as error:
        return str(error)
    return ""


def _fault_line(extension: str, field: SettingField) -> Any:
    """Where the sentence about the widget above stands."""
    return gr.HTML(
        html_template='<p class="easel-field-fault" role="alert">${value}</p>',
        js_on_load=None,
        apply_default_css=False,
        visible=False,
        elem_id=f"easel-ext-{extension}-{field.name}-fault",
    )


def setting_widget(extension: str, field: SettingField) -> Any:
    """The widget that follows from the kind of the default value."""
    common = {"label": field.label, "info": field.info or None, "elem_id": f"easel-ext-{extension}-{field.name}"}
    if field.choices:
        return gr.Dropdown(list(field.choices), value=field.default, **common)
    if isinstance(field.default, bool):
        return gr.Checkbox(field.default, **common)
    if isinstance(field.default, (int, float)):
        whole = isinstance(field.default, int)
        limits = {"minimum": field.low, "maximum": field.high, "step": 1 if whole else None}
        return gr.Number(field.default, precision=0 if whole else None, **limits, **common)
    return gr.Textbox(field.default, **common)
