"""The page bridge: how Python handlers and the page script talk to each other.

One hidden `gr.HTML` carries both ways. Python → page: a handler wired with `bridge.on(…)` may return messages (a queued
job, an error, a sentence to show). Page → Python: `easel.signal(kind, data)` fires an event for the handlers of that
kind. What is done to jobs and pictures does not pass here: the page script uses /api/v1 for it.
"""

from __future__ import annotations

import inspect
import itertools
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from engine.errors import InternalError, StudioError
from engine.extension_folder import extension_of

log = logging.getLogger("easel.web")

# What the page script may tell: the form's own script events. Each is an event of the bridge component.
SIGNALS: tuple[str, ...] = ("attach", "keep", "recall", "example", "remedy", "library", "picture", "spec")

_ON_LOAD = """
const signals = SIGNALS;
const ready = (then) => {
  if (window.easel) then(); else window.addEventListener('easel:ready', then, {once: true});
};
ready(() => window.easel.attachBridge({
  send: (kind, data) => { if (signals.includes(kind)) trigger(kind, {data: data ?? null}); },
}));
watch('value', () => ready(() => window.easel.receive(props.value)));
""".replace("SIGNALS", json.dumps(SIGNALS))


@dataclass(frozen=True)
class Reply:
    """What a handler answers: one value per output, and messages for the page script."""

    values: tuple[Any, ...] = ()
    messages: tuple[dict[str, Any], ...] = ()


class PageBridge:
    """Made once by build_studio, before the tabs; `context.bridge()` gives it to them.

    Args:
        clean: takes this machine's folders out of a text that goes to another machine.
    """

    def __init__(self, clean: Callable[[gr.Request, str], str]) -> None:
        self.clean = clean
        self._numbers = itertools.count(1)
        self._loads: list[tuple[Callable[..., Any], Sequence[Any]]] = []
        self.component = gr.HTML(
            value="",
            html_template="<span></span>",
            js_on_load=_ON_LOAD,
            elem_id="easel-bridge",
            elem_classes="easel-hidden",
        )

    def _message(self, request: gr.Request, *parts: dict[str, Any]) -> str:
        """The value that carries messages to the page; numbered, so that equal messages arrive twice."""
        text = json.dumps({"n": next(self._numbers), "messages": list(parts)}, ensure_ascii=False)
        return self.clean(request, text)

    def on(
        self,
        event: Callable[..., Any],
        handler: Callable[..., Any],
        inputs: Sequence[Any] = (),
        outputs: Sequence[Any] = (),
        *,
        trigger_mode: str = "multiple",
        errors_as: str = "error",
    ) -> None:
        """Wire a short event: `handler(*values, request)` returns one value per output, or a `Reply`.

        A `StudioError` changes no output and goes to the page as a message of the kind `errors_as`: "error" is shown as
        a sentence, "refused" as a card beside each Generate, with ways out. Any other exception does the same as an
        `internal` error, and the terminal has its traceback. Values arrive as the page sends them (no Gradio
        preprocessing): a list that became longer since the page was loaded is no reason to refuse a choice.
        """

        async def run(request: gr.Request, *values: Any) -> Any:
            return await self._answer(handler, values, request, len(outputs), errors_as)

        self._wire(event, run, inputs, outputs, trigger_mode)

    def on_signal(
        self, kind: str, handler: Callable[..., Any], inputs: Sequence[Any] = (), outputs: Sequence[Any] = ()
    ) -> None:
        """Wire a signal of the page script (one of SIGNALS): `handler(data, *values, request)`, otherwise as `on`."""

        async def run(event: gr.EventData, request: gr.Request, *values: Any) -> Any:
            data = (getattr(event, "_data", None) or {}).get("data")
            return await self._answer(handler, (data, *values), request, len(outputs))

        self._wire(getattr(self.component, kind), run, inputs, outputs, "multiple")

    def on_change(self, widgets: Sequence[Any], script: str) -> None:
        """Run a line of the page script whenever one of `widgets` holds something else; nothing goes to the server."""
        changes = [widget.change for widget in widgets if hasattr(widget, "change")]
        gr.on(changes, None, js=script, queue=False, show_progress="hidden", api_visibility="private")

    def on_load(self, handler: Callable[..., Any], outputs: Sequence[Any]) -> None:
        """Call `handler(request)` each time a page is opened; one value per output, otherwise as `on`."""
        self._loads.append((handler, outputs))

    def wire_loads(self, blocks: gr.Blocks) -> None:
        """Wire what `on_load` collected; build_studio calls this when every tab is built."""
        for handler, outputs in self._loads:
            self.on(blocks.load, handler, (), outputs)

    async def _answer(
        self,
        handler: Callable[..., Any],
        arguments: tuple[Any, ...],
        request: gr.Request,
        count: int,
        errors_as: str = "error",
    ) -> Any:
        """One value per output and the message, as Gradio wants them: a single one stands alone."""
        try:
            answer = handler(*arguments, request)
            if inspect.isawaitable(answer):
                answer = await answer
            reply = answer if isinstance(answer, Reply) else Reply(_as_tuple(answer, count))
            values = reply.values or tuple(gr.skip() for _ in range(count))
            if len(values) != count:
                raise TypeError(f"{handler.__qualname__} gave {len(values)} values for {count} outputs")
            return _row(values, self._message(request, *reply.messages) if reply.messages else gr.skip())
        except StudioError as error:
            told = error
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the page's guard: nobody is left without an answer
            told = _unexpected(error)
        return _row([gr.skip()] * count, self._message(request, {"kind": errors_as, **told.to_wire()}))

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


def _unexpected(error: BaseException) -> InternalError:
    """What the page says of a fault of a handler; the traceback goes to the terminal."""
    extension = extension_of(error)
    where = f"the extension “{extension}”" if extension else "Easel itself"
    log.error("a handler of the page failed, in %s", where, exc_info=error)
    what = f"Something in {where} failed ({type(error).__name__})."
    return InternalError("internal", what, "The window where Easel runs has the details.")


def _row(values: Sequence[Any], message: Any) -> Any:
    return (*values, message) if values else message


def _as_tuple(answer: Any, count: int) -> tuple[Any, ...]:
    if count == 0:
        return ()
    return tuple(answer) if isinstance(answer, (tuple, list)) and count > 1 else (answer,)
