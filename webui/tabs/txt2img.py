"""Text to image: the form on one side, the stage with what is being painted on the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from webui.components.adapter_stack import adapter_stack
from webui.components.control_units import control_units
from webui.components.form_widgets import FormWidgets
from webui.components.generation_form import GenerationForm
from webui.components.live import live
from webui.components.model_picker import ModelPicker, model_picker
from webui.components.more_options import more_options
from webui.components.prompt_box import PromptBox, prompt_box
from webui.components.restore_box import RestoreBox, restore_box
from webui.components.restoring import Restoring
from webui.components.sampler_picker import SamplerPicker, sampler_picker
from webui.components.seed_box import seed_box
from webui.components.size_picker import size_picker
from webui.guarded_build import build_apart
from webui.host import PanelSpec, TabContext, TabSpec


def tab() -> TabSpec:
    """The tab's entry for the studio."""
    return TabSpec("txt2img", "Text to image", 10, build)


def build(context: TabContext) -> None:
    """Build the tab."""
    with gr.Row(elem_id="easel-workbench"):
        with gr.Column(elem_id="easel-prompt-area", elem_classes="easel-card"):
            box = prompt_box()
        with gr.Column(elem_id="easel-stage-area"):
            live("easel-stage", elem_id="easel-stage-block")
            live("easel-queue", elem_id="easel-queue-block")
        with gr.Column(elem_id="easel-settings-area", elem_classes="easel-card"):
            stack = adapter_stack()
            units = control_units()
            picker = model_picker()
            samplers = sampler_picker()
            size = size_picker()
            seed = seed_box()
            more = more_options()
            panels = _panels(context)
            restore = restore_box()
    fields = {
        **vars(size),
        **vars(seed),
        **vars(more),
        **vars(stack),
        **vars(units),
        "prompt": box.prompt,
        "negative_prompt": box.negative_prompt,
        "model": picker.model,
        "sampler": samplers.sampler,
        "schedule": samplers.schedule,
        "steps": samplers.steps,
        "guidance": samplers.guidance,
    }
    widgets = FormWidgets(
        fields,
        tokens=box.tokens,
        advice=samplers.advice,
        about=picker.about,
        infotext=restore.infotext,
        panels=panels,
    )
    _wire(context, widgets, box, picker, samplers)
    _wire_restoring(context, widgets, restore)


def _wire(
    context: TabContext, widgets: FormWidgets, box: PromptBox, picker: ModelPicker, samplers: SamplerPicker
) -> None:
    page = context.bridge()
    form = GenerationForm(context, widgets)
    page.on_signal("attach", form.attach, widgets.inputs, widgets.outputs)
    page.on_signal("keep", form.keep, widgets.inputs)
    page.on_signal("library", form.library_changed, widgets.inputs, widgets.outputs)
    page.on_signal("spec", form.tell_spec, widgets.inputs)
    page.on_signal("remedy", form.remedy, widgets.inputs, widgets.outputs)
    page.on_signal("example", lambda prompt, request: str(prompt), (), (box.prompt,))
    page.on_change(widgets.inputs, "() => window.easel?.formTouched()")
    page.on(box.generate.click, form.generate, widgets.inputs, errors_as="refused")
    page.on(picker.model.input, form.choose_model, widgets.inputs, widgets.outputs)
    page.on(picker.apply_defaults.click, form.choose_model, widgets.inputs, widgets.outputs)
    page.on(picker.save_defaults.click, form.save_defaults, widgets.inputs)
    page.on(picker.refresh.click, form.refresh, widgets.inputs, widgets.outputs)
    page.on(samplers.sampler.input, form.choose_sampler, widgets.inputs, widgets.outputs)
    page.on(
        box.prompt.change,
        form.count_tokens,
        [box.prompt, picker.model],
        [box.tokens],
        trigger_mode="always_last",
    )


def _wire_restoring(context: TabContext, widgets: FormWidgets, restore: RestoreBox) -> None:
    page = context.bridge()
    restoring = Restoring(context, widgets)
    page.on_signal("recall", restoring.recall, widgets.inputs, widgets.outputs)
    page.on_signal("picture", restoring.read_picture, widgets.inputs, widgets.outputs)
    page.on(restore.apply.click, restoring.apply_infotext, [restore.infotext, *widgets.inputs], widgets.outputs)


def _panels(context: TabContext) -> dict[str, Mapping[str, Any]]:
    """Build the extensions' panels; one that raises leaves nothing behind but its card."""
    built: dict[str, Mapping[str, Any]] = {}
    for panel in context.panels:
        fields = _panel(context, panel)
        if fields is not None:
            built[panel.extension] = {**built.get(panel.extension, {}), **fields}
    return built


def _panel(context: TabContext, panel: PanelSpec) -> Mapping[str, Any] | None:
    def build_panel() -> Mapping[str, Any]:
        with gr.Accordion(panel.title, open=False):
            fields = panel.build(context)
        if not isinstance(fields, Mapping):
            raise TypeError("a panel's build must return its fields by name")
        return fields

    piece = build_apart(context, panel.extension, build_panel)
    if piece is None:
        return None
    piece.place()
    return piece.result
