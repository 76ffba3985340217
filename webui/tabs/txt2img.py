"""Text to image: the form on one side, the stage with what is being painted on the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from webui.components.adapter_stack import adapter_stack
from webui.components.control_units import control_units
from webui.components.generation_form import GenerationForm
from webui.components.live import live
from webui.components.model_picker import ModelPicker, model_picker
from webui.components.more_options import more_options
from webui.components.prompt_box import PromptBox, prompt_box
from webui.components.restore_box import RestoreBox, restore_box
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
    form = GenerationForm(
        context,
        fields,
        tokens=box.tokens,
        advice=samplers.advice,
        about=picker.about,
        infotext=restore.infotext,
        panels=panels,
    )
    _wire(context, form, box, picker, samplers, restore)


def _wire(
    context: TabContext,
    form: GenerationForm,
    box: PromptBox,
    picker: ModelPicker,
    samplers: SamplerPicker,
    restore: RestoreBox,
) -> None:
    page = context.bridge()
    page.on_signal("attach", form.attach, form.inputs, form.outputs)
    page.on_signal("library", form.library_changed, form.inputs, form.outputs)
    page.on_signal("recall", form.recall, form.inputs, form.outputs)
    page.on_signal("picture", form.read_picture, form.inputs, form.outputs)
    page.on_signal("spec", form.tell_spec, form.inputs)
    page.on_signal("remedy", form.remedy, form.inputs, form.outputs)
    page.on_signal("example", lambda prompt, request: str(prompt), (), (box.prompt,))
    page.on(box.generate.click, form.generate, form.inputs, errors_as="refused")
    page.on(picker.model.input, form.choose_model, form.inputs, form.outputs)
    page.on(picker.apply_defaults.click, form.choose_model, form.inputs, form.outputs)
    page.on(picker.save_defaults.click, form.save_defaults, form.inputs)
    page.on(picker.refresh.click, form.refresh, form.inputs, form.outputs)
    page.on(samplers.sampler.input, form.choose_sampler, form.inputs, form.outputs)
    page.on(restore.apply.click, form.apply_infotext, [restore.infotext], form.outputs)
    page.on(
        box.prompt.change,
        form.count_tokens,
        [box.prompt, picker.model],
        [box.tokens],
        trigger_mode="always_last",
    )


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
