"""A real studio (web process and engine process, a tiny real model) and a real Chromium, started once for each file."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests.support.studio_process import StudioProcess
from tests.support.studio_process import studio as running_studio
from tests.support.tiny_models import write_tiny_sd1

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
CONFIG = """\
[engine]
default_model = "tiny"
device = "cpu"
dtype = "float32"
preview_interval = 0.01
max_batch = 2
[ui]
open_browser = false
[catalogue.models.tiny]
name = "Tiny"
path = "checkpoints/tiny-sd1"
[catalogue.models.tiny.defaults]
width = 64
height = 64
steps = 6
guidance = 4.0
sampler = "euler"
schedule = "automatic"
"""
# The machine may be busy; nothing here measures time.
PATIENCE = 120_000
# Seconds without a change after which a closed page's form has been stored.
SETTLED = 0.7


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder drive a browser; with xdist they share one studio in one worker."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.xdist_group("browser"))


class Studio:
    """A running studio: its address, its data folder, and plain REST for what a test needs to know."""

    def __init__(self, data: Path, running: StudioProcess) -> None:
        self.data = data
        self.running = running
        self.url = running.url

    def get(self, path: str) -> Any:
        """JSON of a GET."""
        return self.running.http.get(path).raise_for_status().json()

    def jobs(self) -> list[dict[str, Any]]:
        """All jobs, newest first."""
        return self.get("/api/v1/jobs?limit=100")["jobs"]  # type: ignore[no-any-return]

    def stored_form(self) -> dict[str, Any]:
        """What the studio remembers of the form."""
        with contextlib.closing(self._database()) as db:
            row = db.execute("SELECT value FROM stored_values WHERE key = 'txt2img.form'").fetchone()
        return json.loads(row[0]) if row else {}

    def forget_form(self) -> None:
        """The next visit begins with the model's values, whatever the one before left in the form.

        A page that was just closed stores its form with its last breath, which may arrive late.
        """
        quiet = time.monotonic() + SETTLED
        while time.monotonic() < quiet:
            if self.stored_form():
                quiet = time.monotonic() + SETTLED
                with contextlib.closing(self._database()) as db, db:
                    db.execute("DELETE FROM stored_values WHERE key = 'txt2img.form'")
            time.sleep(0.05)

    def _database(self) -> sqlite3.Connection:
        return sqlite3.connect(self.data / "outputs" / ".easel" / "studio.db", timeout=30)

    def cancel_all(self) -> None:
        """Leave nothing running for the next test."""
        for job in self.jobs():
            if job["status"] in ("queued", "running"):
                answer = self.running.http.delete(f"/api/v1/jobs/{job['id']}")
                # 409: it ended by itself meanwhile.
                assert answer.is_success or answer.status_code == 409, answer.text


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory, browser_program: str) -> Iterator[Studio]:
    """A studio on a fresh data folder, ready to generate; one for each file, so that no file sees another's form."""
    data = tmp_path_factory.mktemp("studio")
    write_tiny_sd1(data / "models" / "checkpoints" / "tiny-sd1")
    config = data / "config.toml"
    config.write_text(CONFIG, encoding="utf-8")
    with running_studio(data, config) as running:
        running.wait_for(page="ready", engine="ready")
        yield Studio(data, running)


@pytest.fixture(scope="session")
def browser_program() -> str:
    """The path of a Chromium, or a skip that says how to get one."""
    pytest.importorskip("playwright.sync_api", reason="Playwright is missing: launch.py test installs it.")
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("There is no Chromium on this machine: install the package “chromium” to run the browser tests.")
    return program


@pytest.fixture(scope="module")
def chromium(browser_program: str) -> Iterator[Any]:
    """A headless Chromium. For one module only: Playwright's driver would keep others from starting theirs."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=browser_program, args=["--no-sandbox", "--disable-background-networking"]
        )
        yield browser
        browser.close()


class Visit:
    """One browser with its own cookies on the studio; counts what must not happen."""

    def __init__(self, chromium: Any, studio: Studio, **options: Any) -> None:
        self.studio = studio
        self.context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        self.context.set_default_timeout(PATIENCE)
        self.foreign: list[str] = []
        self.faults: list[str] = []
        self.context.on("request", self._request)
        self.context.on("weberror", lambda error: self.faults.append(str(error.error)))
        self.context.on("console", self._console)
        self.page = self.open()

    def open(self) -> Any:
        """A further page on the studio, with the form filled."""
        page = self.context.new_page()
        page.goto(self.studio.url)
        self.attached(page)
        return page

    def attached(self, page: Any) -> None:
        """Wait until the form holds the engine's models."""
        page.wait_for_function("document.documentElement.dataset.easelForm === 'attached'")
        page.wait_for_function("document.querySelector('#easel-model input')?.value === 'Tiny'")

    def fill(self, page: Any | None = None, **fields: object) -> None:
        """Put values into the form's fields, by the ends of their ids."""
        for name, value in fields.items():
            field = (page or self.page).locator(
                f"#easel-{name.replace('_', '-')} :is(textarea, input[type=number], input)"
            )
            field.first.fill(str(value))
            field.first.blur()

    def value(self, name: str) -> str:
        """What a field of the form holds."""
        field = self.page.locator(f"#easel-{name} :is(textarea, input[type=number], input)")
        return field.first.input_value()  # type: ignore[no-any-return]

    def wait_for_values(self, **fields: str) -> None:
        """Wait until the form's fields hold these values; Gradio fills them one after another."""
        for name, value in fields.items():
            self.page.wait_for_function(
                """([selector, value]) => document.querySelector(selector)?.value === value""",
                arg=[f"#easel-{name.replace('_', '-')} :is(textarea, input[type=number], input)", value],
            )

    def choose_model(self, name: str) -> None:
        """Choose a model from the list, and wait until its own values have come."""
        chosen = next(view["id"] for view in self.studio.get("/api/v1/models")["models"] if view["title"] == name)
        self.page.locator("#easel-model input").click()
        self.page.get_by_role("option", name=name, exact=True).click()
        self.wait_for_values(model=name)
        known = "import('/static/control_shelf.js').then(({controls}) => controls.model)"
        self.until(lambda: self.page.evaluate(known) == chosen)

    def generate(self, prompt: str, **fields: object) -> None:
        """Queue what the form says, with these changes, and wait until the studio has taken it."""
        known = len(self.studio.jobs())
        self.fill(prompt=prompt, **fields)
        self.page.locator("#easel-generate").click()
        self.until(lambda: len(self.studio.jobs()) > known)

    def until(self, condition: Any) -> None:
        """Wait for something outside the page."""
        deadline = time.monotonic() + PATIENCE / 1000
        while not condition():
            assert time.monotonic() < deadline, "it did not happen"
            self.page.wait_for_timeout(100)

    def kept(self, **fields: object) -> None:
        """Wait until the studio remembers these values of the form; the page sends them by itself."""
        self.until(lambda: fields.items() <= self.studio.stored_form().items())

    def drop(self, url: str) -> None:
        """Drop a picture of the studio on the page."""
        self.page.evaluate(
            """async (url) => {
                const data = new DataTransfer();
                data.items.add(new File([await (await fetch(url)).blob()], 'picture.png', {type: 'image/png'}));
                const drop = new DragEvent('drop', {bubbles: true, cancelable: true, dataTransfer: data});
                document.body.dispatchEvent(drop);
            }""",
            url,
        )

    def finished_picture(self) -> Any:
        """The newest job's last picture on the stage, once the job is done."""
        self.until(lambda: self.studio.jobs()[0]["status"] == "done")
        name = self.studio.jobs()[0]["images"][-1]["name"]
        picture = self.page.locator(f".easel-canvas[data-kind=image] img[src*='{quote(name)}']")
        picture.wait_for()
        self.page.wait_for_function("document.querySelector('.easel-canvas img')?.naturalWidth > 0")
        return picture

    def tab(self, name: str) -> None:
        """Open a tab of the studio."""
        self.page.get_by_role("tab", name=name, exact=True).click()

    def show(self, name: str) -> None:
        """Keep a picture of the page where EASEL_SCREENSHOTS says, to be looked at."""
        folder = os.environ.get("EASEL_SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.wait_for_timeout(300)
            self.page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=False)

    def _request(self, request: Any) -> None:
        address = urlsplit(request.url)
        if address.scheme in ("http", "https", "ws", "wss") and address.netloc != urlsplit(self.studio.url).netloc:
            self.foreign.append(request.url)

    def _console(self, message: Any) -> None:
        # What a size that cannot be would take is refused; the browser writes that down by itself.
        refused = "status of 422" in message.text and "/memory/forecast" in str(message.location)
        if message.type == "error" and not refused:
            self.faults.append(f"{message.text} {message.location}")


@pytest.fixture
def visit(chromium: Any, studio: Studio) -> Iterator[Visit]:
    """A fresh visit; afterwards no fault was written to the console and no other host was asked."""
    studio.forget_form()
    made = Visit(chromium, studio)
    yield made
    studio.cancel_all()
    made.context.close()
    assert made.foreign == []
    assert made.faults == []
