"""What the form does while the engine is not there, and when there is no model: normal states of a first start.

The clients here stand for an engine in such a state; everything else is exercised with a real engine in tests/browser.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from engine.errors import ConfigError, EngineLostError, StorageError, StudioError
from engine.protocol.commands import FileList, ModelList, SamplerList, StyleList, Value
from engine.protocol.events import Event
from engine.protocol.jobs import JobView
from engine.protocol.library import ModelDefaults, ModelView
from engine.protocol.specs import GenerationSpec
from engine.sampling.table import sampler_views
from engine.settings import Settings
from webui.components.form import FIELDS
from webui.components.form_widgets import FormWidgets
from webui.components.generation_form import GenerationForm
from webui.host import PageBridge, TabContext
from webui.studio import build_studio

REQUEST = SimpleNamespace()


class Engine:
    """An engine with these models, or one that is still starting (None)."""

    def __init__(self, models: ModelList | None, saved: Any = None) -> None:
        self._models = models
        self._saved = saved

    async def call(self, command: Any) -> Any:
        if self._models is None:
            raise EngineLostError("engine_starting", "The engine is starting.", "Wait a moment.")
        return {
            "list_models": self._models,
            "list_samplers": SamplerList(samplers=sampler_views()),
            "list_styles": StyleList(styles=()),
            "list_files": FileList(files=()),
            "get_value": Value(value=self._saved),
        }[command.name]

    async def events(self, after: int | None = None) -> AsyncIterator[Event]:
        return
        yield

    async def close(self) -> None: ...


def form_on(engine: Engine) -> GenerationForm:
    line = gr.HTML(render=False)
    widgets = FormWidgets(
        {name: gr.Textbox(render=False) for name in FIELDS},
        tokens=line,
        advice=line,
        about=line,
        infotext=gr.Textbox(render=False),
        panels={},
    )
    return GenerationForm(TabContext(client=engine, settings=Settings()), widgets)


def attach(engine: Engine) -> tuple[dict[str, Any], dict[str, Any]]:
    """Updates by field, and the message for the page."""
    reply = asyncio.run(form_on(engine).attach(None, REQUEST))
    return dict(zip(FIELDS, reply.values, strict=False)), reply.messages[0]


VIEW = ModelView(
    id="small",
    title="Small",
    family="sd1",
    format="diffusers",
    defaults=ModelDefaults(width=64, height=64, steps=12, sampler="heun", schedule="karras"),
    examples=("a red apple",),
)


def test_an_engine_that_is_still_starting_changes_nothing_and_is_no_error() -> None:
    values, message = attach(Engine(None))
    assert (values, message) == ({}, {"kind": "unattached"})


def test_a_form_that_could_not_be_kept_is_told_to_the_page_alone() -> None:
    """It tries again when the engine is back; nobody has to read about it."""
    reply = asyncio.run(form_on(Engine(None)).keep(None, *("" for _ in FIELDS), REQUEST))
    assert reply.messages == ({"kind": "unkept"},)


def generate(kept: StudioError | None) -> tuple[dict[str, Any], ...]:
    """What the page is told of a job that was queued, where remembering the form ends in `kept`."""
    job = JobView(id="a", owner="me", status="queued", spec=GenerationSpec(prompt="a cat"), created_at=0.0)

    class Queueing(Engine):
        async def call(self, command: Any) -> Any:
            if command.name == "submit_job":
                return job
            assert command.name == "set_value"
            if kept is not None:
                raise kept

    values = ["a cat" if name == "prompt" else None for name in FIELDS]
    return asyncio.run(form_on(Queueing(None)).generate(*values, REQUEST)).messages


def test_a_job_that_is_queued_is_told_as_queued_though_its_form_was_not_kept() -> None:
    assert [message["kind"] for message in generate(None)] == ["submitted"]
    lost = EngineLostError("engine_starting", "The engine is starting.", "Wait a moment.")
    assert [message["kind"] for message in generate(lost)] == ["submitted", "unkept"]
    submitted, told = generate(StorageError("disk_full", "The disk is full.", "Make room."))
    assert (submitted["kind"], submitted["job"]["id"]) == ("submitted", "a")
    assert (told["kind"], told["error"]["code"]) == ("error", "disk_full")


@pytest.mark.parametrize(("quiet", "kinds"), [(False, ["spec", "error"]), (True, ["spec"])])
def test_a_form_that_cannot_be_read_is_answered_all_the_same(quiet: bool, kinds: list[str]) -> None:
    """A dialog waits for the answer with its button off."""
    values = ["twelve" if name == "seed" else None for name in FIELDS]
    asked = {"ask": 3, "quiet": quiet}
    messages = asyncio.run(form_on(Engine(None)).tell_spec(asked, *values, REQUEST)).messages
    assert [message["kind"] for message in messages] == kinds
    assert messages[0] == {"kind": "spec", "ask": 3, "spec": None}


def test_without_any_model_the_page_is_told_where_models_go() -> None:
    values, message = attach(Engine(ModelList(models=(), default="starter", folders=("/models/checkpoints",))))
    assert message["models"] == 0
    assert message["folders"] == ["/models/checkpoints"]
    assert values["model"]["value"] is None


def test_a_fresh_form_takes_the_default_models_values_and_examples() -> None:
    values, message = attach(Engine(ModelList(models=(VIEW,), default="small")))
    assert {name: values[name]["value"] for name in ("model", "width", "steps", "sampler", "schedule")} == {
        "model": "small",
        "width": 64,
        "steps": 12,
        "sampler": "heun",
        "schedule": "karras",
    }
    assert message["examples"] == ["a red apple"]


def test_the_last_form_is_restored_and_a_model_that_is_gone_is_replaced() -> None:
    saved = {"prompt": "my last words", "steps": 33, "model": "gone", "ext": {}}
    form = form_on(Engine(ModelList(models=(VIEW,), default="small"), saved))
    reply = asyncio.run(form.attach(None, REQUEST))
    values = dict(zip(FIELDS, reply.values, strict=False))
    assert values["prompt"]["value"] == "my last words"
    assert (values["model"]["value"], values["steps"]["value"]) == ("small", 12)
    assert reply.messages[1]["text"] == "The model gone is no longer here. Small is chosen now."


OTHER = VIEW.model_copy(update={"id": "other", "title": "Other"})


def library_news(now: tuple[ModelView, ...], offered: Any = None, **form: Any) -> tuple[dict[str, Any], Any]:
    """Updates by field, and the messages, when the models are these `now` and the form holds `form`."""
    asked = form_on(Engine(ModelList(models=now, default="small")))
    values = [form.get(name) for name in FIELDS]
    reply = asyncio.run(asked.library_changed(offered, *values, REQUEST))
    return dict(zip(FIELDS, reply.values, strict=False)), reply.messages


def test_library_news_write_no_value_of_a_form_that_somebody_fills() -> None:
    values, messages = library_news((VIEW, OTHER), model="other", steps=3, vae="", styles=[])
    assert values["model"]["choices"] == [("Small", "small"), ("Other", "other")]
    assert [name for name, update in values.items() if "value" in update] == []
    assert [message["kind"] for message in messages] == ["form"]
    assert "model" not in messages[0], "the page knows better by now"
    same, messages = library_news((VIEW, OTHER), messages[0]["offered"], model="other")
    assert same == {}, "the same choices are not written again"
    assert messages[0]["models"] == 2


def test_a_model_that_goes_away_is_replaced_and_the_rest_of_the_form_stays() -> None:
    values, messages = library_news(
        (VIEW,), model="other", steps=3, prompt="mine", vae="gone.safetensors", styles=["a"]
    )
    changed = {name: update["value"] for name, update in values.items() if "value" in update}
    assert changed == {"model": "small", "vae": "", "styles": []}
    assert [message.get("text") for message in messages[1:]] == [
        "The model other is no longer here. Small is chosen now.",
        "The VAE gone.safetensors is no longer here. The model's own is chosen now.",
        "These styles are no longer here: a.",
    ]


def test_the_first_model_that_comes_brings_its_values() -> None:
    values, messages = library_news((VIEW,), model=None, negative_prompt="mine")
    assert (values["model"]["value"], values["steps"]["value"]) == ("small", 12)
    assert len(messages) == 1


def test_a_model_that_cannot_be_used_is_listed_with_its_problem_and_not_offered() -> None:
    bad = VIEW.model_copy(update={"id": "bad", "title": "Bad", "problem": "The file ends too early."})
    values, message = attach(Engine(ModelList(models=(bad, VIEW), default="bad")))
    assert values["model"]["choices"] == [("Small", "small")]
    assert message["problems"] == ["Bad: The file ends too early."]


@pytest.mark.parametrize("stored", ["text", 5, ["list"], {"ext": "not a table", "unknown": 1}])
def test_a_stored_form_that_makes_no_sense_is_ignored(stored: Any) -> None:
    values, _ = attach(Engine(ModelList(models=(VIEW,), default="small"), stored))
    assert values["steps"]["value"] == 12


def test_messages_to_another_machine_do_not_name_this_machines_folders(tmp_path: Path) -> None:
    settings = Settings.model_validate({"paths": {"data": str(tmp_path)}})
    context = TabContext(client=Engine(None), settings=settings)
    build_studio(context)
    page: PageBridge = context.bridge()

    def request_from(address: str) -> Any:
        return SimpleNamespace(request=SimpleNamespace(scope={"type": "http", "client": (address, 1), "headers": []}))

    text = f"Put models into {tmp_path}/models."
    assert page.clean(request_from("127.0.0.1"), text) == text
    assert str(tmp_path) not in page.clean(request_from("192.168.1.20"), text)


def test_a_damaged_styles_file_costs_its_styles_and_not_the_form() -> None:
    class Damaged(Engine):
        async def call(self, command: Any) -> Any:
            if command.name == "list_styles":
                raise ConfigError("config_unreadable", "styles.csv is not a table.", "Correct it.")
            return await super().call(command)

    reply = asyncio.run(form_on(Damaged(ModelList(models=(VIEW,), default="small"))).attach(None, REQUEST))
    values = dict(zip(FIELDS, reply.values, strict=False))
    assert values["model"]["value"] == "small"
    assert values["styles"]["choices"] == []
    assert "styles.csv" in values["styles"]["info"]
    assert [message["kind"] for message in reply.messages] == ["form", "error"]
