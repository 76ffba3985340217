"""Taking over the settings of a picture: out of the history, out of a dropped file, out of pasted infotext."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.errors import SpecError
from engine.protocol.commands import ListModels, ListSamplers, ReadRecipe, Recipe
from engine.protocol.specs import GenerationSpec
from webui.components import form as forms
from webui.components.bridge import Reply
from webui.components.form_widgets import FormWidgets, find_model
from webui.host import TabContext


class Restoring:
    """Handlers that fill the form from a picture; what could not be restored is told."""

    def __init__(self, context: TabContext, widgets: FormWidgets) -> None:
        self._context = context
        self._widgets = widgets

    async def recall(self, data: Any, *rest: Any) -> Reply:
        """Take over a picture's spec (from the stage, the history or a dropped picture)."""
        values, request = rest[:-1], rest[-1]
        spec = _spec_of(data)
        text = str(data.get("infotext") or "") if isinstance(data, dict) else ""
        return await self._recall(spec, values, request, infotext=text or None, said="Settings restored.")

    async def apply_infotext(self, text: str, *rest: Any) -> Reply:
        """Read pasted infotext and take its settings over."""
        values, request = rest[:-1], rest[-1]
        if not (text or "").strip():
            raise SpecError("bad_request", "There is no text to read.", "Paste the infotext of a picture first.")
        recipe = await self._context.client.call(ReadRecipe(owner=self._context.owner(request), text=text))
        return await self._apply_recipe(recipe, values, request)

    async def read_picture(self, data: Any, *rest: Any) -> Reply:
        """Read a dropped picture (base64 in `data["data"]`) and take its settings over."""
        values, request = rest[:-1], rest[-1]
        picture = str((data or {}).get("data", ""))
        recipe = await self._context.client.call(ReadRecipe(owner=self._context.owner(request), data=picture))
        return await self._apply_recipe(recipe, values, request)

    async def _apply_recipe(self, recipe: Recipe, values: Sequence[Any], request: Any) -> Reply:
        if recipe.spec is None:
            raise SpecError(
                "image_unreadable",
                "There are no settings of a picture in it.",
                "Many sites and messengers strip them: use the original file.",
            )
        sources = {"easel": "an Easel picture", "a1111": "an A1111 picture"}
        said = f"Settings restored from {sources.get(recipe.source, recipe.source or 'the text')}."
        return await self._recall(
            recipe.spec,
            values,
            request,
            infotext=recipe.infotext or None,
            said=said,
            told=[notice.message for notice in recipe.notices],
        )

    async def _recall(
        self,
        spec: GenerationSpec,
        values: Sequence[Any],
        request: Any,
        *,
        infotext: str | None,
        said: str,
        told: Sequence[str] = (),
    ) -> Reply:
        owner = self._context.owner(request)
        models = await self._context.client.call(ListModels(owner=owner))
        samplers = await self._context.client.call(ListSamplers(owner=owner))
        form = forms.form_from_spec(spec)
        notes = [said, *told]
        view = find_model(models, form.get("model"))
        if form.get("model") and (view is None or view.problem):
            notes.append(f"Its model “{form.pop('model')}” is not here.")
            view = None
        # What the recipe leaves open is the model's affair, as it says; the negative prompt never is.
        chosen = self._widgets.form(values).get("model")
        start = view or find_model(models, chosen) or find_model(models, models.default)
        if view is None and start is not None and len(notes) > 1:
            notes.append(f"The model stays “{start.title}”.")
        if start is not None:
            open_fields = forms.form_from_defaults(start.defaults.model_copy(update={"negative_prompt": None}))
            form = {**open_fields, **form}
        reply = self._widgets.fill(form, models if view else None, samplers, {}, ext=dict(spec.ext), infotext=infotext)
        # What could not be restored stays to be read until it is closed.
        message = {"kind": "say", "text": " ".join(notes), "stay": len(notes) > 1}
        return Reply(reply.values, (*reply.messages, message, {"kind": "show_form"}))


def _spec_of(data: Any) -> GenerationSpec:
    raw = data.get("spec") if isinstance(data, dict) else None
    try:
        return GenerationSpec.model_validate(raw)
    except ValueError as error:
        raise SpecError("bad_request", "These settings cannot be read.", "Reload the page and try again.") from error
