"""The page bridge: how Python handlers and the page script talk to each other.

One hidden `gr.HTML` carries both ways. Python → page: a handler wired with `bridge.on(…)` may return messages (a queued
job, an error, a sentence to show). Page → Python: `easel.send(kind, data)` fires an event for handlers that asked for
`kind`, and `easel.call(name, fields)` carries out a command of the protocol and returns its answer.
"""

from __future__ import annotations

import inspect
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from engine.client.base import EngineClient
from engine.errors import SpecError, StudioError
from engine.protocol.commands import COMMANDS

# What the page script may ask for. Submitting goes through the form, so that what a person sees is what runs.
PAGE_COMMANDS: frozenset[str] = frozenset(
    {
        "get_job",
        "list_jobs",
        "cancel_job",
        "search_history",
        "get_image",
        "delete_images",
        "restore_images",
        "mark_image",
        "rebuild_history",
        "get_status",
        "list_models",
    }
)

# What the page script may tell: the form's own script events. Each is an event of the bridge component.
SIGNALS: tuple[str, ...] = ("attach", "recall", "example", "remedy", "library", "picture")

_ON_LOAD = """
const signals = SIGNALS;
const ready = (then) => {
  if (window.easel) then(); else window.addEventListener('easel:ready', then, {once: true});
};
ready(() => window.easel.attachBridge({
  send: (kind, data) => { if (signals.includes(kind)) trigger(kind, {data: data ?? null}); },
  command: (request) => server.command(request),
}));
watch('value', () => ready(() => window.easel.receive(props.value)));
""".replace("SIGNALS", json.dumps(SIGNALS))


@dataclass(frozen=True)
class Reply:
    """What a handler answers: one value per output, and messages for the page script."""

    values: tuple[Any, ...] = ()
    messages: tuple[dict[str, Any], ...] = ()


class PageBridge:
    """Made once by build_studio, before the tabs; `context.bridge()` gives it to them."""

    def __init__(self, client: EngineClient, owner: Callable[[gr.Request | None], str]) -> None:
        self._client = client
        self._owner = owner
        self._numbers = itertools.count(1)
        self.component = gr.HTML(
            value="",
            html_template="<span></span>",
            js_on_load=_ON_LOAD,
            server_functions=[self._command_function()],
            elem_id="easel-bridge",
            elem_classes="easel-hidden",
        )

    def message(self, *parts: dict[str, Any]) -> str:
        """The value that carries messages to the page; numbered, so that equal messages arrive twice."""
        return json.dumps({"n": next(self._numbers), "messages": list(parts)}, ensure_ascii=False)

    def on(
        self,
        event: Callable[..., Any],
        handler: Callable[..., Any],
        inputs: Sequence[Any] = (),
        outputs: Sequence[Any] = (),
        *,
        trigger_mode: str = "multiple",
    ) -> None:
        """Wire a short event: `handler(*values, request)` returns one value per output, or a `Reply`.

        A `StudioError` changes no output and is shown to the person. Values arrive as the page sends them (no Gradio
        preprocessing): a list that became longer since the page was loaded is no reason to refuse a choice.
        """

        async def run(request: gr.Request, *values: Any) -> tuple[Any, ...]:
            return await self._answer(handler, (*values, request), len(outputs))

        self._wire(event, run, inputs, outputs, trigger_mode)

    def on_signal(
        self, kind: str, handler: Callable[..., Any], inputs: Sequence[Any] = (), outputs: Sequence[Any] = ()
    ) -> None:
        """Wire a signal of the page script (one of SIGNALS): `handler(data, *values, request)`, otherwise as `on`."""

        async def run(event: gr.EventData, request: gr.Request, *values: Any) -> tuple[Any, ...]:
            data = (getattr(event, "_data", None) or {}).get("data")
            return await self._answer(handler, (data, *values, request), len(outputs))

        self._wire(getattr(self.component, kind), run, inputs, outputs, "multiple")

    async def _answer(self, handler: Callable[..., Any], arguments: tuple[Any, ...], count: int) -> tuple[Any, ...]:
        try:
            answer = handler(*arguments)
            if inspect.isawaitable(answer):
                answer = await answer
        except StudioError as error:
            return (*(gr.skip() for _ in range(count)), self.message({"kind": "error", **error.to_wire()}))
        reply = answer if isinstance(answer, Reply) else Reply(_as_tuple(answer, count))
        values = reply.values or tuple(gr.skip() for _ in range(count))
        return (*values, self.message(*reply.messages) if reply.messages else gr.skip())

    def _wire(
        self,
        event: Callable[..., Any],
        run: Callable[..., Any],
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        mode: str,
    ) -> None:
        event(
            run,
            inputs=list(inputs),
            outputs=[*outputs, self.component],
            queue=False,
            preprocess=False,
            show_progress="hidden",
            trigger_mode=mode,
            api_visibility="private",
        )

    def _command_function(self) -> Callable[..., Any]:
        async def command(asked: dict[str, Any], request: gr.Request) -> dict[str, Any]:
            """Carry out a command for the page script; the owner comes from the login, never from the page."""
            name = str(asked.get("name", ""))
            try:
                if name not in PAGE_COMMANDS:
                    raise SpecError("bad_request", f"The page may not call “{name}”.")
                fields = {**(asked.get("fields") or {}), "owner": self._owner(request)}
                reply = await self._client.call(COMMANDS[name].model_validate(fields))
                return {"reply": reply.model_dump(mode="json", by_alias=True)}
            except StudioError as error:
                return error.to_wire()
            except ValueError as error:
                return SpecError("bad_request", f"“{name}” was asked in a way that cannot be read: {error}").to_wire()

        return command


def _as_tuple(answer: Any, count: int) -> tuple[Any, ...]:
    if count == 0:
        return ()
    return tuple(answer) if isinstance(answer, (tuple, list)) and count > 1 else (answer,)
