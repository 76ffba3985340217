"""The form of Text to image: all its widgets by name, and what happens when a person uses them.

Every handler is short and goes through the engine client. `values` are form values in the order of FIELDS, followed by
the fields of the extensions' panels.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from engine.errors import EngineLostError, SpecError
from engine.protocol.commands import (
    CountTokens,
    GetValue,
    ListFiles,
    ListModels,
    ListSamplers,
    ListStyles,
    ModelList,
    ReadRecipe,
    Recipe,
    SamplerList,
    SaveModelDefaults,
    SetValue,
    SubmitJob,
)
from engine.protocol.library import ModelDefaults, ModelView
from engine.protocol.specs import GenerationSpec
from webui.components import form as forms
from webui.components.bridge import Reply
from webui.components.model_picker import about_model
from webui.host import TabContext

FORM_KEY = "txt2img.form"


class GenerationForm:
    """Widgets and handlers of one form.

    Args:
        context: the tab's context.
        fields: the widget of each name in FIELDS.
        tokens, advice, about, infotext: the lines of text that handlers fill.
        panels: extension id → its fields by name.
    """

    def __init__(
        self,
        context: TabContext,
        fields: Mapping[str, Any],
        *,
        tokens: gr.HTML,
        advice: gr.HTML,
        about: gr.HTML,
        infotext: gr.Textbox,
        panels: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self._context = context
        self._fields = dict(fields)
        self._panels = panels
        self.inputs = [self._fields[name] for name in forms.FIELDS]
        self.inputs += [widget for panel in panels.values() for widget in panel.values()]
        self.lines = {"tokens": tokens, "advice": advice, "about": about, "infotext": infotext}
        self.outputs = [*self.inputs, *self.lines.values()]

    # --- handlers ------------------------------------------------------------------------------------------------

    async def attach(self, data: Any, *rest: Any) -> Reply:
        """Fill the pickers, and the form with what this person used last, or with the default model's values."""
        request = rest[-1]
        owner = self._context.owner(request)
        call = self._context.client.call
        try:
            models = await call(ListModels(owner=owner))
            samplers = await call(ListSamplers(owner=owner))
            choices = await self._choices(models, samplers, owner)
            saved = (await call(GetValue(owner=owner, key=FORM_KEY))).value
        except EngineLostError:
            return Reply(messages=({"kind": "unattached"},))
        form: dict[str, Any] = dict(saved) if isinstance(saved, dict) else {}
        ext = form.pop("ext", {})
        usable = {model.id for model in models.models if not model.problem}
        if form.get("model") not in usable:
            start = _find(models, models.default) or next((m for m in models.models if m.id in usable), None)
            form |= forms.form_from_defaults(start.defaults) if start else {}
            form["model"] = start.id if start else None
        return self._fill(form, models, samplers, choices, ext=ext if isinstance(ext, dict) else {})

    async def library_changed(self, data: Any, *rest: Any) -> Reply:
        """Files came or went: new choices, same form."""
        values, request = rest[:-1], rest[-1]
        return await self._refill(values, request, refresh=False)

    async def refresh(self, *rest: Any) -> Reply:
        """Look into the model folders again."""
        values, request = rest[:-1], rest[-1]
        reply = await self._refill(values, request, refresh=True)
        return Reply(reply.values, (*reply.messages, {"kind": "say", "text": "Looked into the model folders again."}))

    async def choose_model(self, *rest: Any) -> Reply:
        """A model was chosen: take its defaults."""
        values, request = rest[:-1], rest[-1]
        form = self._form(values)
        owner = self._context.owner(request)
        models = await self._context.client.call(ListModels(owner=owner))
        samplers = await self._context.client.call(ListSamplers(owner=owner))
        view = _find(models, form.get("model"))
        if view is None:
            return Reply()
        update = forms.form_from_defaults(view.defaults, str(form.get("negative_prompt") or ""))
        return self._fill({**update, "model": view.id}, models, samplers, {})

    async def choose_sampler(self, *rest: Any) -> Reply:
        """A sampler was chosen: offer only the schedules that exist for it."""
        values, request = rest[:-1], rest[-1]
        form = self._form(values)
        samplers = await self._context.client.call(ListSamplers(owner=self._context.owner(request)))
        return self._fill({"sampler": form.get("sampler"), "schedule": form.get("schedule")}, None, samplers, {})

    async def generate(self, *rest: Any) -> Reply:
        """Queue what the form asks for, and remember the form."""
        values, request = rest[:-1], rest[-1]
        owner = self._context.owner(request)
        form, ext = self._form(values), self._ext(values)
        spec = forms.spec_from_form(form, ext)
        call = self._context.client.call
        job = await call(SubmitJob(owner=owner, spec=spec, request_id=uuid.uuid4().hex))
        await call(SetValue(owner=owner, key=FORM_KEY, value={**form, "ext": ext}))
        return Reply(messages=({"kind": "submitted", "job": job.model_dump(mode="json", by_alias=True)},))

    async def tell_spec(self, data: Any, *rest: Any) -> Reply:
        """Tell the page script the spec that the form makes; it answers the question numbered `data["ask"]`.

        A field that cannot be read raises; where `data["quiet"]` says that nobody asked, the answer is null instead.
        """
        values, asked = rest[:-1], data or {}
        message: dict[str, Any] = {"kind": "spec", "ask": asked.get("ask"), "spec": None}
        try:
            spec = forms.spec_from_form(self._form(values), self._ext(values))
        except SpecError:
            if not asked.get("quiet"):
                raise
        else:
            message["spec"] = spec.model_dump(mode="json", by_alias=True)
        return Reply(messages=(message,))

    async def recall(self, data: Any, *rest: Any) -> Reply:
        """Take over a picture's spec (from the stage, the history or a dropped picture)."""
        request = rest[-1]
        spec = _spec_of(data)
        text = str(data.get("infotext") or "") if isinstance(data, dict) else ""
        return await self._recall(spec, request, infotext=text or None, said="Settings restored.")

    async def apply_infotext(self, text: str, *rest: Any) -> Reply:
        """Read pasted infotext and take its settings over."""
        request = rest[-1]
        if not (text or "").strip():
            raise SpecError("bad_request", "There is no text to read.", "Paste the infotext of a picture first.")
        recipe = await self._context.client.call(ReadRecipe(owner=self._context.owner(request), text=text))
        return await self._apply_recipe(recipe, request)

    async def read_picture(self, data: Any, *rest: Any) -> Reply:
        """Read a dropped picture (base64 in `data["data"]`) and take its settings over."""
        request = rest[-1]
        picture = str((data or {}).get("data", ""))
        recipe = await self._context.client.call(ReadRecipe(owner=self._context.owner(request), data=picture))
        return await self._apply_recipe(recipe, request)

    async def remedy(self, data: Any, *rest: Any) -> Reply:
        """After a failure: fewer steps, or the model's defaults; the page then generates again. "take" only sets values
        (`data["values"]`, fields of ModelDefaults), as an adapter for few steps wants them."""
        values, request = rest[:-1], rest[-1]
        form = self._form(values)
        owner = self._context.owner(request)
        models = await self._context.client.call(ListModels(owner=owner))
        samplers = await self._context.client.call(ListSamplers(owner=owner))
        if (data or {}).get("action") == "defaults":
            view = _find(models, form.get("model")) or _find(models, models.default)
            update = forms.form_from_defaults(view.defaults if view else ModelDefaults())
            update.pop("negative_prompt", None)
        elif (data or {}).get("action") == "take":
            taken = forms.form_from_defaults(_defaults_of((data or {}).get("values")))
            return self._fill(taken, None, samplers, {})
        else:
            update = {"steps": forms.fewer_steps(form.get("steps"), samplers.samplers, form.get("sampler"))}
        reply = self._fill(update, None, samplers, {})
        return Reply(reply.values, (*reply.messages, {"kind": "resubmit"}))

    async def save_defaults(self, *rest: Any) -> Reply:
        """Keep the form's values as this model's own defaults."""
        values, request = rest[:-1], rest[-1]
        form = self._form(values)
        if not form.get("model"):
            raise SpecError("model_unknown", "No model is chosen.", "Choose one first.")
        command = SaveModelDefaults(
            owner=self._context.owner(request), model=form["model"], defaults=forms.defaults_from_form(form)
        )
        await self._context.client.call(command)
        return Reply(messages=({"kind": "say", "text": "Kept as this model's defaults."},))

    async def count_tokens(self, prompt: str, model: str | None, request: Any) -> Any:
        """The line under the prompt: tokens used, and what of the syntax is left out."""
        if not (prompt or "").strip():
            return ""
        try:
            command = CountTokens(owner=self._context.owner(request), prompt=prompt, model=model or None)
            count = await self._context.client.call(command)
        except EngineLostError:
            return gr.skip()
        parts = f" in {count.chunks} parts" if count.chunks > 1 else ""
        told = "".join(f" · {notice.message}" for notice in count.notices)
        return f"{count.tokens} of {count.limit} tokens{parts}{told}"

    # --- helpers -------------------------------------------------------------------------------------------------

    async def _apply_recipe(self, recipe: Recipe, request: Any) -> Reply:
        if recipe.spec is None:
            raise SpecError(
                "image_unreadable",
                "There are no settings of a picture in it.",
                "Many sites and messengers strip them: use the original file.",
            )
        sources = {"easel": "an Easel picture", "a1111": "an A1111 picture"}
        said = f"Settings restored from {sources.get(recipe.source, recipe.source or 'the text')}."
        told = " ".join(notice.message for notice in recipe.notices)
        return await self._recall(recipe.spec, request, infotext=recipe.infotext or None, said=f"{said} {told}".strip())

    async def _recall(self, spec: GenerationSpec, request: Any, *, infotext: str | None, said: str) -> Reply:
        owner = self._context.owner(request)
        models = await self._context.client.call(ListModels(owner=owner))
        samplers = await self._context.client.call(ListSamplers(owner=owner))
        form = forms.form_from_spec(spec)
        view = _find(models, form.get("model"))
        if form.get("model") and (view is None or view.problem):
            said += f" Its model “{form.pop('model')}” is not here, so the chosen one stays."
            view = None
        # What the recipe leaves open is the model's affair, as it says; the negative prompt never is.
        start = view or _find(models, models.default)
        if start is not None:
            open_fields = forms.form_from_defaults(start.defaults.model_copy(update={"negative_prompt": None}))
            form = {**open_fields, **form}
        reply = self._fill(form, models if view else None, samplers, {}, ext=dict(spec.ext), infotext=infotext)
        return Reply(reply.values, (*reply.messages, {"kind": "say", "text": said}, {"kind": "show_form"}))

    async def _refill(self, values: Sequence[Any], request: Any, *, refresh: bool) -> Reply:
        owner = self._context.owner(request)
        models = await self._context.client.call(ListModels(owner=owner, refresh=refresh))
        samplers = await self._context.client.call(ListSamplers(owner=owner))
        choices = await self._choices(models, samplers, owner)
        form = self._form(values)
        keep = {name: form.get(name) for name in ("model", "vae", "styles", "sampler", "schedule")}
        if _find(models, keep["model"]) is None:
            first = _find(models, models.default) or next((m for m in models.models if not m.problem), None)
            keep |= forms.form_from_defaults(first.defaults) if first else {}
            keep["model"] = first.id if first else None
        return self._fill(keep, models, samplers, choices)

    async def _choices(self, models: ModelList, samplers: SamplerList, owner: str) -> dict[str, list[tuple[str, str]]]:
        call = self._context.client.call
        styles = await call(ListStyles(owner=owner))
        vaes = await call(ListFiles(owner=owner, kind="vae"))
        return {
            "model": forms.model_choices(models.models),
            "sampler": [(view.title, view.id) for view in samplers.samplers],
            "styles": [(style.name, style.name) for style in styles.styles],
            "vae": [
                ("The model's own", forms.OWN_VAE),
                *((file.title, file.id) for file in vaes.files if not file.problem),
            ],
        }

    def _form(self, values: Sequence[Any]) -> dict[str, Any]:
        return dict(zip(forms.FIELDS, values, strict=False))

    def _ext(self, values: Sequence[Any]) -> dict[str, Any]:
        rest = iter(values[len(forms.FIELDS) :])
        return {extension: {name: next(rest) for name in panel} for extension, panel in self._panels.items()}

    def _fill(
        self,
        form: Mapping[str, Any],
        models: ModelList | None,
        samplers: SamplerList,
        choices: Mapping[str, list[tuple[str, str]]],
        *,
        ext: Mapping[str, Any] | None = None,
        infotext: str | None = None,
    ) -> Reply:
        """Updates for every output: only what `form` and `choices` name changes."""
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
        view = _find(models, form.get("model")) if models else None
        updates += [
            gr.skip(),
            forms.sampler_advice(samplers.samplers, sampler) if sampler else gr.skip(),
            about_model(view) if view else gr.skip(),
            infotext if infotext is not None else gr.skip(),
        ]
        return Reply(tuple(updates), (_form_message(models, view),) if models else ())


def _update(form: Mapping[str, Any], choices: Mapping[str, Any], name: str) -> Any:
    change: dict[str, Any] = {}
    if name in choices:
        change["choices"] = choices[name]
    if name in form:
        change["value"] = form[name]
    return gr.update(**change) if change else gr.skip()


def _find(models: ModelList | None, model_id: Any) -> ModelView | None:
    return next((view for view in models.models if view.id == model_id), None) if models and model_id else None


def _form_message(models: ModelList, view: ModelView | None) -> dict[str, Any]:
    """What the page script shows beside the form: examples, and where models go when there is none."""
    return {
        "kind": "form",
        "models": sum(1 for model in models.models if not model.problem),
        "folders": list(models.folders),
        "problems": [f"{model.title}: {model.problem}" for model in models.models if model.problem],
        "examples": list(view.examples) if view else [],
        "model": view.id if view else None,
        "family": view.family if view else "",
    }


def _defaults_of(raw: Any) -> ModelDefaults:
    try:
        return ModelDefaults.model_validate(raw)
    except ValueError as error:
        raise SpecError("bad_request", "These values cannot be read.", "Reload the page and try again.") from error


def _spec_of(data: Any) -> GenerationSpec:
    raw = data.get("spec") if isinstance(data, dict) else None
    try:
        return GenerationSpec.model_validate(raw)
    except ValueError as error:
        raise SpecError("bad_request", "These settings cannot be read.", "Reload the page and try again.") from error
