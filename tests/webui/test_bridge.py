"""The page bridge: whatever a handler does, the page gets an answer."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from engine.errors import SpecError
from webui.components.bridge import PageBridge, Reply
from webui.extension_loader import load_extensions


def answers(handler: Any, caplog: pytest.LogCaptureFixture, count: int = 1, errors_as: str = "error") -> Any:
    """What goes to the page when a button runs `handler`: the values, and the message as JSON."""
    with gr.Blocks(analytics_enabled=False) as blocks:
        page = PageBridge(lambda request, text: text)
        button = gr.Button()
        page.on(button.click, handler, (), [gr.Textbox() for _ in range(count)], errors_as=errors_as)
    (run,) = [function.fn for function in blocks.fns.values()]
    assert run is not None
    with caplog.at_level(logging.ERROR):
        *values, message = asyncio.run(run(SimpleNamespace()))
    return values, json.loads(message) if isinstance(message, str) else None


def test_an_unexpected_fault_is_a_sentence_on_the_page_and_a_traceback_in_the_terminal(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fall(request: object) -> str:
        raise TypeError("int() argument must be a string")

    values, told = answers(fall, caplog, errors_as="refused")
    assert values == [gr.skip()]
    (message,) = told["messages"]
    assert (message["kind"], message["error"]["code"]) == ("refused", "internal")
    assert message["error"]["message"] == "Something in Easel itself failed (TypeError)."
    (record,) = caplog.records
    assert record.exc_info is not None


def test_an_extension_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "my-own__one"
    folder.mkdir()
    (folder / "extension.toml").write_text('id = "my-own__one"\nname = "O"\nversion = "1"\napi = 1\n')
    (folder / "ui.py").write_text(
        "import sys\n\n\nasync def fall(request):\n    return [][0]\n\n\n"
        "async def leave(request):\n    sys.exit(1)\n\n\n"
        "def register(host):\n    host.fall, host.leave = fall, leave\n"
    )
    (loaded,) = load_extensions(tmp_path).loaded
    for handler, name in ((loaded.host.fall, "IndexError"), (loaded.host.leave, "SystemExit")):  # type: ignore[attr-defined]
        _, told = answers(handler, caplog)
        assert told["messages"][0]["error"]["message"] == f"Something in the extension “my-own__one” failed ({name})."


def test_a_wrong_number_of_values_is_told_too(caplog: pytest.LogCaptureFixture) -> None:
    values, told = answers(lambda request: Reply(("one", "two", "three")), caplog, count=2)
    assert values == [gr.skip()] * 2
    assert told["messages"][0]["error"]["code"] == "internal"


def test_a_refusal_stays_a_refusal(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(request: object) -> str:
        raise SpecError("prompt_empty", "There is no prompt.")

    _, told = answers(refuse, caplog)
    assert told["messages"][0]["error"]["code"] == "prompt_empty"
    assert caplog.records == []
