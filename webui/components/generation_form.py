"""What happens when a person uses the form of Text to image.

Every handler is short and goes through the engine client. `values` are form values, see `FormWidgets`.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import gradio as gr

from engine.errors import EngineLostError, SpecError, StudioError
from engine.protocol.commands import (
    CountTokens,
    GetValue,
    ListFiles,
    ListModels,
    ListSamplers,
    ListStyles,
    ModelList,
    SamplerList,
    SaveModelDefaults,
    SetValue,
    Style,
    SubmitJob,
)
from engine.protocol.library import ModelDefaults
from engine.protocol.specs import PROMPT_LIMIT
from webui.components import form as forms
from webui.components.bridge import Reply
from webui.components.form_widgets import FormWidgets, find_model, fingerprint
from webui.components.replacements import replacements
from webui.host import TabContext

FORM_KEY = "txt2img.form"


class GenerationForm:
    """Handlers of one form."""

    def __init__(self, context: TabContext, widgets: FormWidgets) -> None:
        self._context = context
        self._widgets = widgets

    async def attach(self, data: Any, *rest: Any) -> Reply:
        """Fill the pickers, and the form with what this person used last, or with the default model's values."""
        request = rest[-1]
        owner = self._context.owner(request)
        call = self._context.client.call
        try:
            models = await call(ListModels(owner=owner))
            samplers = await call(ListSamplers(owner=owner))
            choices, told = await self._choices(models, samplers, owner)
            saved = (await call(GetValue(owner=owner, key=FORM_KEY))).value
        except EngineLostError:
            return Reply(messages=({"kind": "unattached"},))
        form: dict[str, Any] = dict(saved) if isinstance(saved, dict) else {}
        ext = form.pop("ext", {})
        instead, words = replacements(form, models, choices)
        form |= {**(_defaults(models, instead["model"]) if "model" in instead else {}), **instead}
        reply = self._widgets.fill(form, models, samplers, choices, ext=ext if isinstance(ext, dict) else {})
        return Reply(reply.values, (*reply.messages, *told, *map(_say, words)))

    async def keep(self, data: Any, *rest: Any) -> Reply:
        """Remember the form as it stands: generated or not, it is there again when the page is opened anew."""
        values, request = rest[:-1], rest[-1]
        form = {**self._widgets.form(values), "ext": self._widgets.ext(values)}
        try:
            await self._context.client.call(SetValue(owner=self._context.owner(request), key=FORM_KEY, value=form))
        except EngineLostError:
            return Reply(messages=({"kind": "unkept"},))
        return Reply()

    async def library_changed(self, data: Any, *rest: Any) -> Reply:
        """Files came or went: new choices, same form.

        `data` is the fingerprint of the choices that the page offers. Where they are still these, no widget is touched:
        what somebody is typing into a picker would be gone.
        """
        values, request = rest[:-1], rest[-1]
        return await self._refill(values, request, refresh=False, offered=data)

    async def refresh(self, *rest: Any) -> Reply:
        """Look into the model folders again."""
        values, request = rest[:-1], rest[-1]
        reply = await self._refill(values, request, refresh=True)
        return Reply(reply.values, (*reply.messages, _say("Looked into the model folders again.")))

    async def choose_model(self, *rest: Any) -> Reply:
        """A model was chosen: take its defaults."""
        values, request = rest[:-1], rest[-1]
        form = self._widgets.form(values)
        owner = self._context.owner(request)
        models = await self._context.client.call(ListModels(owner=owner))
        samplers = await self._context.client.call(ListSamplers(owner=owner))
        view = find_model(models, form.get("model"))
        if view is None:
            return Reply()
        update = forms.form_from_defaults(view.defaults, str(form.get("negative_prompt") or ""))
        reply = self._widgets.fill({**update, "model": view.id}, models, samplers, {})
        # The picker itself is not written: by now somebody may be typing the next name into it.
        picker = forms.FIELDS.index("model")
        return Reply((*reply.values[:picker], gr.skip(), *reply.values[picker + 1 :]), reply.messages)

    async def choose_sampler(self, *rest: Any) -> Reply:
        """A sampler was chosen: offer only the schedules that exist for it."""
        values, request = rest[:-1], rest[-1]
        form = self._widgets.form(values)
        samplers = await self._context.client.call(ListSamplers(owner=self._context.owner(request)))
        chosen = {name: form.get(name) for name in ("sampler", "schedule")}
        return self._widgets.fill(chosen, None, samplers, {})

    async def generate(self, *rest: Any) -> Reply:
        """Queue what the form asks for, and remember the form: what is wrong with that is told beside the job."""
        values, request = rest[:-1], rest[-1]
        spec = forms.spec_from_form(self._widgets.form(values), self._widgets.ext(values))
        command = SubmitJob(owner=self._context.owner(request), spec=spec, request_id=uuid.uuid4().hex)
        job = await self._context.client.call(command)
        submitted = {"kind": "submitted", "job": job.model_dump(mode="json", by_alias=True)}
        try:
            kept = await self.keep(None, *rest)
        except StudioError as error:
            # The job is in the queue: this is no refusal.
            return Reply(messages=(submitted, _told(error)))
        return Reply(messages=(submitted, *kept.messages))

    async def tell_spec(self, data: Any, *rest: Any) -> Reply:
        """Tell the page script the spec that the form makes; it answers the question numbered `data["ask"]`.

        Where a field cannot be read the answer is null, and the person is told why unless `data["quiet"]` says that
        nobody asked.
        """
        values, asked = rest[:-1], data or {}
        answer = {"kind": "spec", "ask": asked.get("ask"), "spec": None}
        try:
            spec = forms.spec_from_form(self._widgets.form(values), self._widgets.ext(values))
        except SpecError as error:
            return Reply(messages=(answer,) if asked.get("quiet") else (answer, _told(error)))
        return Reply(messages=({**answer, "spec": spec.model_dump(mode="json", by_alias=True)},))

    async def remedy(self, data: Any, *rest: Any) -> Reply:
        """After a failure: fewer steps, or the model's defaults; the page then generates again. "take" only sets values
        (`data["values"]`, fields of ModelDefaults), as an adapter for few steps wants them."""
        values, request = rest[:-1], rest[-1]
        wish = data or {}
        form = self._widgets.form(values)
        owner = self._context.owner(request)
        samplers = await self._context.client.call(ListSamplers(owner=owner))
        if wish.get("action") == "take":
            taken = forms.form_from_defaults(_defaults_of(wish.get("values")))
            return self._widgets.fill(taken, None, samplers, {})
        if wish.get("action") == "defaults":
            models = await self._context.client.call(ListModels(owner=owner))
            view = find_model(models, form.get("model")) or find_model(models, models.default)
            update = forms.form_from_defaults(view.defaults if view else ModelDefaults())
            update.pop("negative_prompt", None)
        else:
            update = {"steps": forms.fewer_steps(form.get("steps"), samplers.samplers, form.get("sampler"))}
        reply = self._widgets.fill(update, None, samplers, {})
        return Reply(reply.values, (*reply.messages, {"kind": "resubmit"}))

    async def save_defaults(self, *rest: Any) -> Reply:
        """Keep the form's values as this model's own defaults."""
        values, request = rest[:-1], rest[-1]
        form = self._widgets.form(values)
        if not form.get("model"):
            raise SpecError("model_unknown", "No model is chosen.", "Choose one first.")
        command = SaveModelDefaults(
            owner=self._context.owner(request), model=form["model"], defaults=forms.defaults_from_form(form)
        )
        await self._context.client.call(command)
        return Reply(messages=(_say("Kept as this model's defaults."),))

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
        long = f" · too long: {PROMPT_LIMIT:,} characters are the limit" if len(prompt) > PROMPT_LIMIT else ""
        return f"{count.tokens} of {count.limit} tokens{parts}{long}{told}"

    async def _refill(self, values: Sequence[Any], request: Any, *, refresh: bool, offered: Any = None) -> Reply:
        owner = self._context.owner(request)
        models = await self._context.client.call(ListModels(owner=owner, refresh=refresh))
        samplers = await self._context.client.call(ListSamplers(owner=owner))
        choices, told = await self._choices(models, samplers, owner)
        if offered == fingerprint(choices):
            return Reply(messages=self._widgets.fill({}, models, samplers, {}).messages)
        form = self._widgets.form(values)
        instead, words = replacements(form, models, choices)
        if not form.get("model") and instead.get("model"):
            instead |= _defaults(models, instead["model"], str(form.get("negative_prompt") or ""))
        reply = self._widgets.fill(instead, models, samplers, choices)
        return Reply(reply.values, (*reply.messages, *told, *map(_say, words)))

    async def _choices(
        self, models: ModelList, samplers: SamplerList, owner: str
    ) -> tuple[dict[str, list[tuple[str, str]]], tuple[dict[str, Any], ...]]:
        """What the pickers offer, and messages about what could not be read: a damaged styles.csv costs its styles."""
        call = self._context.client.call
        styles: tuple[Style, ...] = ()
        told: tuple[dict[str, Any], ...] = ()
        try:
            styles = (await call(ListStyles(owner=owner))).styles
        except EngineLostError:
            raise
        except StudioError as error:
            told = (_told(error),)
        vaes = await call(ListFiles(owner=owner, kind="vae"))
        choices = {
            "model": forms.model_choices(models.models),
            "sampler": [(view.title, view.id) for view in samplers.samplers],
            "styles": [(style.name, style.name) for style in styles],
            "vae": [
                ("The model's own", forms.OWN_VAE),
                *((file.title, file.id) for file in vaes.files if not file.problem),
            ],
        }
        return choices, told


def _say(text: str) -> dict[str, Any]:
    return {"kind": "say", "text": text}


def _defaults(models: ModelList, model_id: str | None, negative_now: str = "") -> dict[str, Any]:
    view = find_model(models, model_id)
    return forms.form_from_defaults(view.defaults, negative_now) if view else {}


def _told(error: StudioError) -> dict[str, Any]:
    """The message that shows an error as a sentence."""
    return {"kind": "error", **error.to_wire()}


def _defaults_of(raw: Any) -> ModelDefaults:
    try:
        return ModelDefaults.model_validate(raw)
    except ValueError as error:
        raise SpecError("bad_request", "These values cannot be read.", "Reload the page and try again.") from error
