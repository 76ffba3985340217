"""The page that answers first becomes the studio by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.browser.conftest import PATIENCE
from tests.support.studio_data import make_data
from tests.support.studio_process import studio as running_studio


def test_the_warming_page_opens_the_studio_by_itself(chromium: Any, tmp_path: Path) -> None:
    config = make_data(tmp_path)
    page = chromium.new_page(viewport={"width": 360, "height": 740})
    with running_studio(tmp_path, config) as studio:
        studio.wait_for_port()
        page.goto(studio.url, wait_until="domcontentloaded")
        assert page.title() == "Easel is starting"
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 360
        page.wait_for_selector("#easel-tabs button[role=tab]", timeout=PATIENCE)
        assert page.title() == "Easel"
    page.close()
