"""From form values to a spec and back: plain functions, no Gradio.

A form is a mapping from the names in FIELDS to what the widgets hold; extensions' values stand under "ext".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from engine.errors import SpecError
from engine.protocol.library import ModelDefaults, ModelView, SamplerView
from engine.protocol.specs import GenerationSpec
from webui.validation import explain

FIELDS: tuple[str, ...] = (
    "prompt",
    "negative_prompt",
    "styles",
    "model",
    "vae",
    "sampler",
    "schedule",
    "steps",
    "guidance",
    "width",
    "height",
    "upscale",
    "seed",
    "count",
    "batch_size",
    "clip_skip",
    "format",
    "quality",
    "name_pattern",
    "prompt_syntax",
    "repeatable",
    "adapters",
    "conflicts",
    "controls",
)
DEFAULT_FIELDS: tuple[str, ...] = (
    "width", "height", "upscale", "steps", "guidance", "sampler", "schedule", "clip_skip",
)  # fmt: skip
OUTPUT_FIELDS: tuple[str, ...] = ("format", "quality", "name_pattern")
WHOLE_NUMBERS: tuple[str, ...] = ("steps", "width", "height", "seed", "count", "batch_size", "clip_skip", "quality")
OWN_VAE = ""
# Lists that the page script keeps as JSON text, and what a person calls them.
LISTS: dict[str, str] = {"adapters": "adapter stack", "controls": "list of ControlNet units"}


def spec_from_form(form: Mapping[str, Any], ext: Mapping[str, Any] | None = None) -> GenerationSpec:
    """The spec that the form asks for. An emptied number is left to the engine's defaults.

    Raises:
        SpecError: `bad_request` where a field holds something that is no value of its kind.
    """
    fields: dict[str, Any] = {}
    output: dict[str, Any] = {}
    for name in FIELDS:
        value = _rows(name, form.get(name)) if name in LISTS else _clean(name, form.get(name))
        if value is None:
            continue
        if name in OUTPUT_FIELDS:
            output[name] = value
        else:
            fields[name] = value
    try:
        return GenerationSpec.model_validate({**fields, "output": output, "ext": dict(ext or {})})
    except ValidationError as error:
        fault = explain(error, GenerationSpec)
        raise SpecError(fault.code, fault.message, "Change it in the form and try again.") from error


def form_from_spec(spec: GenerationSpec) -> dict[str, Any]:
    """Form values that make `spec` again; fields that the spec leaves open are left out."""
    form: dict[str, Any] = {}
    for name in FIELDS:
        value = getattr(spec.output if name in OUTPUT_FIELDS else spec, name)
        if name == "styles":
            value = list(value)
        if name in LISTS:
            value = json.dumps([row.model_dump(mode="json") for row in value], ensure_ascii=False)
        if name == "seed" and value is not None:
            value = str(value)
        if value is not None:
            form[name] = value
    form.setdefault("vae", OWN_VAE)
    form.setdefault("upscale", 1)
    # No seed is a wish too: a new one each time.
    form.setdefault("seed", "")
    form.setdefault("name_pattern", "")
    return form


def form_from_defaults(defaults: ModelDefaults, negative_now: str = "") -> dict[str, Any]:
    """Form values of a model's defaults. A negative prompt that the person wrote is not replaced."""
    form = {name: getattr(defaults, name) for name in DEFAULT_FIELDS if getattr(defaults, name) is not None}
    if defaults.negative_prompt is not None and not negative_now.strip():
        form["negative_prompt"] = defaults.negative_prompt
    return form


def defaults_from_form(form: Mapping[str, Any]) -> ModelDefaults:
    """What “Save as this model's defaults” keeps."""
    values = {name: _clean(name, form.get(name)) for name in DEFAULT_FIELDS}
    negative = str(form.get("negative_prompt") or "")
    return ModelDefaults(**values, negative_prompt=negative or None)


def model_choices(models: Sequence[ModelView]) -> list[tuple[str, str]]:
    """Titles and ids for the model picker; two models of one title are told apart by their ids."""
    titles = [model.title for model in models]
    return [
        (model.title if titles.count(model.title) == 1 else f"{model.title} ({model.id})", model.id)
        for model in models
        if not model.problem
    ]


def schedule_choices(samplers: Sequence[SamplerView], sampler: str | None) -> list[tuple[str, str]]:
    """The schedules that exist for a sampler, as titles and ids."""
    for view in samplers:
        if view.id == sampler:
            return [(schedule.title, schedule.id) for schedule in view.schedules]
    return []


def sampler_advice(samplers: Sequence[SamplerView], sampler: str | None) -> str:
    """One line beneath the sampler: what it is good for, and how many steps it wants."""
    for view in samplers:
        if view.id == sampler:
            low, high = view.advised_steps
            steps = f"Advised: {low} to {high} steps." if low != high else f"Advised: {low} steps."
            cost = " Each step costs two." if view.evaluations_per_step >= 1.9 else ""
            return f"{view.advice.strip()} {steps}{cost}".strip()
    return ""


def fewer_steps(steps: int | None, samplers: Sequence[SamplerView], sampler: str | None) -> int:
    """A gentler number of steps after a failure: half, but not below what the sampler is advised to have."""
    low = next((view.advised_steps[0] for view in samplers if view.id == sampler), 8)
    now = steps or 20
    return max(1, min(now - 1, max(now // 2, low))) if now > 1 else 1


def _clean(name: str, value: Any) -> Any:
    if value is None or (value == "" and name not in ("prompt", "negative_prompt")):
        return None
    if name == "styles":
        return tuple(value)
    if name == "seed":
        return _seed(value)
    if name in WHOLE_NUMBERS and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _rows(name: str, value: Any) -> list[Any] | None:
    """The rows of one of LISTS."""
    if not value:
        return None
    try:
        rows = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        rows = None
    if not isinstance(rows, list):
        raise SpecError("bad_request", f"The {LISTS[name]} cannot be read.", "Reload the page and try again.")
    return rows


def _seed(value: Any) -> Any:
    """A seed as written: digits; nothing, "random" and A1111's -1 draw one."""
    text = str(value).strip()
    if text.lower() in ("", "-1", "random"):
        return None
    return int(text) if text.isascii() and text.isdigit() else text
