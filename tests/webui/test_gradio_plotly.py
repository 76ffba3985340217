"""The plots stand on the Plotly that Gradio brings along: its pinned version has it where Easel looks."""

from __future__ import annotations

from pathlib import Path

import gradio

from tests.support.running_studio import RunningStudio
from webui.api.static_files import GRADIO_ASSETS, PLOTLY


def test_its_address_leads_to_gradios_module_that_puts_plotly_into_the_window(studio: RunningStudio) -> None:
    answer = studio.http.get(PLOTLY)
    assert answer.status_code == 307
    assert answer.headers["cache-control"] == "no-cache"
    folder, name = answer.headers["location"].rsplit("/", 1)
    assert folder == "/assets"
    file = Path(gradio.__file__).parent / GRADIO_ASSETS / name
    assert "window.Plotly=" in file.read_text(encoding="utf-8")
