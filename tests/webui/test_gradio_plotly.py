"""The plots stand on the Plotly that Gradio brings along: its pinned version has it where Easel looks."""

from __future__ import annotations

from pathlib import Path

import gradio

from tests.support.running_studio import RunningStudio
from webui.api.static_files import PLOTLY, GradioPlotly


def test_gradios_module_of_plotly_is_there_and_puts_it_into_the_window() -> None:
    name = GradioPlotly().name
    assert name is not None
    file = Path(gradio.__file__).parent / "templates" / "frontend" / "assets" / name
    assert "window.Plotly=" in file.read_text(encoding="utf-8")


def test_its_address_leads_there(studio: RunningStudio) -> None:
    answer = studio.http.get(PLOTLY)
    assert answer.status_code == 307
    assert answer.headers["location"] == f"/assets/{GradioPlotly().name}"
    assert answer.headers["cache-control"] == "no-cache"
