"""The page as a whole: many tabs, phone width, both colour schemes, names for all controls, no other host."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import Studio, Visit

TABS = ("Text to image", "Adapters", "ControlNet", "Merge", "History", "Memory", "Hello", "Extensions", "Settings")
NAMELESS = """
() => [...document.querySelectorAll('button, input, textarea, select, a[href]')]
  .filter((element) => element.offsetParent !== null)
  .filter((element) => !(element.getAttribute('aria-label') || element.textContent.trim() || element.title
    || element.labels?.length || element.closest('label') || element.placeholder))
  .map((element) => element.outerHTML.slice(0, 160))
"""


def test_ten_tabs_of_one_browser_are_live(visit: Visit) -> None:
    pages = [visit.page, *(visit.context.new_page() for _ in range(9))]
    for page in pages[1:]:
        page.goto(visit.studio.url, wait_until="commit")
    for page in pages:
        visit.attached(page)
    visit.generate("ten witnesses", count=1, steps=5)
    job = visit.studio.jobs()[0]["id"]
    for page in pages:
        page.wait_for_function("id => window.easel.live.jobs.get(id)?.status === 'done'", arg=job)
        assert page.evaluate("id => window.easel.live.jobs.get(id).images.length", job) == 1


def test_no_tab_asks_another_host(visit: Visit) -> None:
    for name in TABS:
        visit.tab(name)
        visit.page.wait_for_timeout(150)
        visit.show(f"8-{name.split()[0].lower()}")
    assert visit.foreign == []


def test_every_control_has_a_name(visit: Visit) -> None:
    for name in TABS:
        visit.tab(name)
        visit.page.wait_for_timeout(150)
        assert visit.page.evaluate(NAMELESS) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone_width(chromium: Any, studio: Studio, scheme: str) -> None:
    phone = Visit(
        chromium,
        studio,
        viewport={"width": 360, "height": 780},
        color_scheme=scheme,
        is_mobile=True,
        has_touch=True,
    )
    page = phone.page
    assert page.evaluate("document.body.classList.contains('dark')") is (scheme == "dark")
    phone.generate("a small lighthouse", count=1, steps=4)
    phone.finished_picture()
    phone.show(f"9-phone-{scheme}")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    above = page.evaluate(
        "['#easel-generate', '.easel-canvas', '#easel-model']"
        ".map((name) => document.querySelector(name).getBoundingClientRect().top)"
    )
    assert above == sorted(above), "prompt, then stage, then settings"
    phone.context.close()
    assert (phone.foreign, phone.faults) == ([], [])


def test_colours_can_be_chosen_and_are_kept(visit: Visit) -> None:
    page = visit.page
    button = page.get_by_role("button", name="Colours:")
    for _ in range(2):
        button.click()
    assert page.evaluate("document.body.classList.contains('dark')") is True
    page.reload()
    visit.attached(page)
    assert page.evaluate("document.body.classList.contains('dark')") is True


def test_the_extension_tab_shows_hello(visit: Visit) -> None:
    visit.tab("Extensions")
    card = visit.page.locator('.easel-extension[data-id="hello"]')
    card.wait_for()
    assert "panel" in card.inner_text()


def test_a_setting_of_an_extension_that_cannot_be_is_told_beside_its_field(visit: Visit) -> None:
    page = visit.page
    visit.tab("Settings")
    field = page.locator("#easel-ext-hello-count input")
    fault = page.locator("#easel-ext-hello-count-fault")
    for wrong in ("", "-5", "1000000000", "2.5"):
        field.fill(wrong)
        page.locator("#easel-save-hello").click()
        fault.get_by_text(f"cannot be {wrong}" if wrong else "is empty").wait_for()
        assert "Give a whole number from 1 to 30." in fault.inner_text()
    page.get_by_text("Settings of Hello are not kept").first.wait_for()
    visit.show("settings-extension-fault")
    field.fill("3")
    page.locator("#easel-save-hello").click()
    page.get_by_text("Settings of Hello kept.").wait_for()
    fault.wait_for(state="detached")
    page.reload()
    visit.attached(page)
    visit.tab("Hello")
    page.locator("#hello-surprise").click()
    page.wait_for_function("document.querySelector('#hello-ideas textarea').value.split('\\n').length === 3")


def test_hello_paints_its_ideas_and_keeps_its_settings(visit: Visit) -> None:
    page = visit.page
    visit.tab("Settings")
    page.locator("#easel-ext-hello-mood :is(textarea, input)").fill("cheerful")
    page.locator("#easel-ext-hello-count input").fill("2")
    page.locator("#easel-save-hello").click()
    page.get_by_text("Settings of Hello kept.").wait_for()
    visit.tab("Hello")
    page.locator("#hello-surprise").click()
    page.wait_for_function("document.querySelector('#hello-ideas textarea').value.includes('cheerful')")
    known = len(visit.studio.jobs())
    page.locator("#hello-paint").click()
    visit.until(lambda: len(visit.studio.jobs()) == known + 2)
    page.locator("#easel-generate").wait_for()
