"""Ten tabs of one browser, all open and live at once: no tab may hold a connection for itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.running_studio import SMALL
from tests.support.studio_data import make_data
from tests.support.studio_process import studio as running_studio

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
TABS = 10


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; `apt-get install chromium` gives one")
def test_ten_tabs_are_live_and_ask_nobody_else(tmp_path: Path) -> None:
    from playwright.sync_api import Request, sync_playwright

    config = make_data(tmp_path)
    foreign: list[str] = []
    problems: list[str] = []
    with running_studio(tmp_path, config) as studio, sync_playwright() as playwright:
        studio.wait_for_line("Easel is ready at ")

        def note(request: Request) -> None:
            if not request.url.startswith((studio.url, studio.url.replace("http", "ws"), "data:", "blob:")):
                foreign.append(request.url)

        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-background-networking", "--disable-gpu"]
        )
        context = browser.new_context()
        context.on("request", note)
        pages = []
        for _ in range(TABS):
            page = context.new_page()
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.goto(studio.url, wait_until="domcontentloaded", timeout=60_000)
            pages.append(page)
        for page in pages:
            page.wait_for_selector("#easel-tabs button[role=tab]", timeout=120_000)
            page.evaluate("""() => new Promise((resolve, reject) => {
                window.heard = [];
                const socket = new WebSocket(`ws://${location.host}/ws`);
                socket.onmessage = (event) => { window.heard.push(JSON.parse(event.data)); resolve(); };
                socket.onclose = () => reject("closed");
            })""")
        # With ten tabs open, an ordinary request still gets through, and every tab hears of the job.
        answer = pages[-1].evaluate(
            """async (spec) => (await (await fetch("/api/v1/jobs", {method: "POST", body: JSON.stringify(spec),
            headers: {"Content-Type": "application/json"}})).json())""",
            {**SMALL, "prompt": "ten tabs", "steps": 1},
        )
        for page in pages:
            heard = "(id) => window.heard.some((m) => m.kind === 'job' && m.job.id === id)"
            page.wait_for_function(heard, arg=answer["id"], timeout=60_000)
        browser.close()
    assert foreign == []
    assert problems == []


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; `apt-get install chromium` gives one")
def test_the_warming_page_opens_the_studio_by_itself(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    config = make_data(tmp_path)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-background-networking", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 360, "height": 740})
        with running_studio(tmp_path, config) as studio:
            studio.wait_for_port()
            page.goto(studio.url, wait_until="domcontentloaded")
            assert page.title() == "Easel is starting"
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= 360
            page.wait_for_selector("#easel-tabs button[role=tab]", timeout=120_000)
            assert page.title() == "Easel"
        browser.close()
