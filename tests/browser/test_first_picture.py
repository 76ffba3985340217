"""The walk of a first visit: look, write, generate, watch, find it again."""

from __future__ import annotations

from typing import Any

from tests.browser.conftest import Visit


def test_the_first_picture(visit: Visit) -> None:
    page = visit.page
    assert visit.value("steps") == "6"
    assert visit.value("width") == "64"
    assert "Advised" in page.locator("#easel-advice").inner_text()
    visit.show("1-empty")
    visit.generate("a red apple", count=2, steps=30)
    page.locator(".easel-canvas[data-kind=preview] img").wait_for()
    visit.show("2-painting")
    visit.finished_picture()
    page.wait_for_function("document.querySelectorAll('.easel-thumb[data-state=done]').length === 2")
    assert "Seed" in page.locator(".easel-facts").inner_text()
    assert page.evaluate("document.querySelector('.easel-canvas img').naturalWidth") == 64
    assert page.evaluate("document.querySelector('.easel-canvas img').clientWidth") > 256
    visit.show("3-done")
    visit.tab("History")
    page.wait_for_function("document.querySelectorAll('.easel-tile').length >= 2")
    visit.show("4-history")


def test_the_token_counter_counts_and_tells_what_is_left_out(visit: Visit) -> None:
    visit.fill(prompt="a cat, <lora:nobody:1>")
    visit.page.wait_for_function(
        "/of 75 tokens.*lora/s.test(document.querySelector('#easel-tokens')?.textContent ?? '')"
    )


def test_keyboard_generates_and_cancels(visit: Visit) -> None:
    visit.fill(prompt="a long night", steps=150, count=8)
    known = len(visit.studio.jobs())
    # What may be meant is offered while one types; generating ends that, so that Escape is for the job.
    visit.page.locator("#easel-prompt textarea").press_sequentially(", <lora:easel", delay=20)
    visit.page.locator(".easel-completions li").first.wait_for()
    visit.page.keyboard.press("Control+Enter")
    visit.until(lambda: len(visit.studio.jobs()) == known + 1)
    visit.page.locator(".easel-cancel:visible").wait_for()
    visit.page.keyboard.press("Escape")
    visit.until(lambda: visit.studio.jobs()[0]["status"] == "canceled")
    visit.page.locator(".easel-progress").wait_for(state="hidden")


def test_the_cancel_button_cancels(visit: Visit) -> None:
    visit.generate("a long road", steps=150, count=8)
    held: list[Any] = []
    visit.page.route("**/api/v1/jobs/*", lambda route: held.append(route))
    visit.page.locator(".easel-cancel:visible").click()
    visit.page.locator(".easel-words", has_text="Ending").wait_for()
    assert visit.page.get_by_role("button", name="Cancelling…").is_disabled()
    visit.until(lambda: len(held) == 1)
    held[0].continue_()
    visit.until(lambda: visit.studio.jobs()[0]["status"] == "canceled")


def test_one_picture_is_skipped_and_the_others_are_made(visit: Visit) -> None:
    visit.generate("three boats", steps=40, count=3, batch=1)
    visit.page.locator(".easel-canvas[data-kind=preview]").wait_for()
    visit.page.get_by_role("button", name="Skip this picture").click()
    visit.until(lambda: visit.studio.jobs()[0]["status"] in ("done", "canceled"))
    assert len(visit.studio.jobs()[0]["images"]) == 2


def test_a_reload_attaches_to_the_running_job_and_keeps_the_form(visit: Visit) -> None:
    visit.generate("a slow river", steps=150, count=8)
    visit.page.locator(".easel-canvas[data-kind=preview]").wait_for()
    visit.page.reload()
    visit.attached(visit.page)
    visit.page.locator(".easel-canvas[data-kind=preview]").wait_for()
    visit.page.locator(".easel-words", has_text="of 150").wait_for()
    visit.wait_for_values(prompt="a slow river", steps="150")


def test_the_queue_shows_places_and_cancels_one(visit: Visit) -> None:
    page = visit.page
    visit.generate("the first in line", steps=150, count=60, batch=2)
    visit.generate("the second in line", count=1, steps=6)
    visit.generate("the third in line")
    rows = page.locator(".easel-jobs li")
    page.wait_for_function("document.querySelectorAll('.easel-jobs li').length === 3")
    assert ["first" in rows.nth(0).inner_text(), "third" in rows.nth(2).inner_text()] == [True, True]
    page.wait_for_function(
        "document.querySelectorAll('.easel-jobs li .easel-job-state')[2]?.textContent.includes('1 before it')"
    )
    visit.show("5-queue")
    rows.nth(1).get_by_role("button").click()
    page.wait_for_function("document.querySelectorAll('.easel-jobs li').length === 2")
    states = {job["spec"]["prompt"]: job["status"] for job in visit.studio.jobs()[:3]}
    assert states["the second in line"] == "canceled"
