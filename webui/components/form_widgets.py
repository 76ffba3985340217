"""The widgets of Text to image by name: reading what they hold, and the updates that fill them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from engine.protocol.commands import ModelList, SamplerList
from engine.protocol.library import ModelView
from webui.components import form as forms
from webui.components.bridge import Reply
from webui.components.model_picker import about_model
from webui.components.more_options import NO_STYLES_INFO, STYLES_INFO


class FormWidgets:
    """All widgets of one form.

    Args:
        fields: the widget of each name in FIELDS.
        tokens, advice, about, infotext: the lines of text that handlers fill.
        panels: extension id → its fields by name.

    `values` are what the widgets hold, in the order of `inputs`: FIELDS, followed by the panels' fields.
    """

    def __init__(
        self,
        fields: Mapping[str, Any],
        *,
        tokens: gr.HTML,
        advice: gr.HTML,
        about: gr.HTML,
        infotext: gr.Textbox,
        panels: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self._panels = panels
        self.inputs = [fields[name] for name in forms.FIELDS]
        self.inputs += [widget for panel in panels.values() for widget in panel.values()]
        self.outputs = [*self.inputs, tokens, advice, about, infotext]

    def form(self, values: Sequence[Any]) -> dict[str, Any]:
        """Form values by name."""
        return dict(zip(forms.FIELDS, values, strict=False))

    def ext(self, values: Sequence[Any]) -> dict[str, Any]:
        """What the extensions' panels hold, by extension and name."""
        rest = iter(values[len(forms.FIELDS) :])
        return {extension: {name: next(rest) for name in panel} for extension, panel in self._panels.items()}

    def fill(
        self,
        form: Mapping[str, Any],
        models: ModelList | None,
        samplers: SamplerList,
        choices: Mapping[str, list[tuple[str, str]]],
        *,
        ext: Mapping[str, Any] | None = None,
        infotext: str | None = None,
    ) -> Reply:
        """Updates for every output: only what `form` and `choices` name changes.

        A value that is not named is not written: a person may choose another while the answer is on its way.
        """
        tell = _form_message(models, form, choices) if models else None
        form = dict(form)
        choices = dict(choices)
        sampler = form.get("sampler")
        if sampler:
            choices["schedule"] = forms.schedule_choices(samplers.samplers, sampler)
            known = [value for _, value in choices["schedule"]]
            if form.get("schedule") not in known:
                form["schedule"] = known[0] if known else None
        updates: list[Any] = [_update(form, choices, name) for name in forms.FIELDS]
        for extension, panel in self._panels.items():
            given = (ext or {}).get(extension)
            given = given if isinstance(given, dict) else {}
            updates += [gr.update(value=given[name]) if name in given else gr.skip() for name in panel]
        view = find_model(models, form.get("model")) if models else None
        updates += [
            gr.skip(),
            forms.sampler_advice(samplers.samplers, sampler) if sampler else gr.skip(),
            about_model(view) if view else gr.skip(),
            infotext if infotext is not None else gr.skip(),
        ]
        return Reply(tuple(updates), (tell,) if tell else ())


def _update(form: Mapping[str, Any], choices: Mapping[str, Any], name: str) -> Any:
    change: dict[str, Any] = {}
    if name in choices:
        change["choices"] = choices[name]
        if name == "styles":
            change["info"] = STYLES_INFO if choices[name] else NO_STYLES_INFO
    if name in form:
        change["value"] = form[name]
    return gr.update(**change) if change else gr.skip()


def find_model(models: ModelList | None, model_id: Any) -> ModelView | None:
    """The view of that id; None where there is none."""
    return next((view for view in models.models if view.id == model_id), None) if models and model_id else None


def fingerprint(choices: Mapping[str, list[tuple[str, str]]]) -> str:
    """Tells one set of choices from another."""
    return hashlib.sha256(json.dumps(choices, sort_keys=True).encode()).hexdigest()[:16]


def _form_message(models: ModelList, form: Mapping[str, Any], choices: Mapping[str, Any]) -> dict[str, Any]:
    """What the page script shows beside the form: examples, and where models go when there is none.

    It has the chosen model only where that is written, and the choices' fingerprint only where they are.
    """
    message: dict[str, Any] = {
        "kind": "form",
        "models": sum(1 for model in models.models if not model.problem),
        "folders": list(models.folders),
        "problems": [f"{model.title}: {model.problem}" for model in models.models if model.problem],
    }
    if choices:
        message["offered"] = fingerprint(choices)
    if "model" in form:
        view = find_model(models, form["model"])
        message |= {
            "examples": list(view.examples) if view else [],
            "model": view.id if view else None,
            "family": view.family if view else "",
        }
    return message
