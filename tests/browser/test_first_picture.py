"""The walk of a first visit: look, write, generate, watch, find it again."""

from __future__ import annotations

import json
from pathlib import Path

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
    visit.page.locator("#easel-prompt textarea").focus()
    visit.page.keyboard.press("Control+Enter")
    visit.until(lambda: len(visit.studio.jobs()) == known + 1)
    visit.page.locator(".easel-cancel:visible").wait_for()
    visit.page.keyboard.press("Escape")
    visit.until(lambda: visit.studio.jobs()[0]["status"] == "canceled")
    visit.page.locator(".easel-progress").wait_for(state="hidden")


def test_the_cancel_button_cancels(visit: Visit) -> None:
    visit.generate("a long road", steps=150, count=8)
    visit.page.locator(".easel-cancel:visible").click()
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


def test_a_refused_request_says_why_and_offers_the_defaults(visit: Visit) -> None:
    page = visit.page
    visit.fill(prompt="a square peg", width=13)
    page.locator("#easel-generate").click()
    card = page.locator(".easel-error")
    card.wait_for()
    assert "13" in card.inner_text()
    visit.show("6-error")
    page.get_by_role("button", name="Try the model's defaults").click()
    visit.until(lambda: visit.studio.jobs()[0]["spec"]["prompt"] == "a square peg")
    visit.finished_picture()
    visit.wait_for_values(width="64")


def test_an_empty_prompt_is_answered_with_a_sentence(visit: Visit) -> None:
    visit.fill(prompt="")
    visit.page.locator("#easel-generate").click()
    visit.page.locator(".easel-error").wait_for()
    assert "prompt" in visit.page.locator(".easel-error").inner_text().lower()


def test_swap_shapes_and_seed_buttons(visit: Visit) -> None:
    page = visit.page
    visit.fill(width=96, height=64)
    page.locator("#easel-swap").click()
    visit.wait_for_values(width="64", height="96")
    page.get_by_role("button", name="Square 1:1").click()
    page.wait_for_function("document.querySelector('#easel-height input').value === '80'")
    visit.generate("a seed to keep", width=64, height=64, count=1, seed="")
    visit.finished_picture()
    page.wait_for_function("document.querySelector('.easel-facts')?.textContent.includes('Seed')")
    page.locator("#easel-seed-reuse").click()
    seed = str(visit.studio.jobs()[0]["images"][0]["seed"])
    page.wait_for_function(f"document.querySelector('#easel-seed :is(input, textarea)').value === '{seed}'")
    page.locator("#easel-seed-random").click()
    page.wait_for_function("document.querySelector('#easel-seed :is(input, textarea)').value === ''")


def test_choosing_a_sampler_offers_only_its_schedules(visit: Visit) -> None:
    page = visit.page
    known = {view["title"]: view for view in visit.studio.get("/api/v1/samplers")["samplers"]}
    title = next(name for name, view in known.items() if name != "Euler" and len(view["schedules"]) > 1)
    page.locator("#easel-sampler input").click()
    page.get_by_role("option", name=title, exact=True).click()
    page.wait_for_function(
        "advice => document.querySelector('#easel-advice').textContent.includes(advice)",
        arg=known[title]["advice"][:30],
    )
    page.locator("#easel-schedule input").click()
    page.wait_for_function(
        "titles => titles.join() ==="
        " [...document.querySelectorAll('[role=option]')].map((one) => one.ariaLabel).join()",
        arg=[schedule["title"] for schedule in known[title]["schedules"]],
    )


def test_a_dropped_picture_restores_every_setting(visit: Visit) -> None:
    page = visit.page
    visit.generate("a green bottle", negative="blurry", steps=7, width=72, height=64, seed=1234, count=1)
    visit.finished_picture()
    image = visit.studio.jobs()[0]["images"][0]
    file = visit.studio.data / "outputs" / image["name"]
    visit.fill(prompt="something else", negative="", steps=20, width=64, seed="")
    page.evaluate(
        """async (url) => {
            const data = new DataTransfer();
            data.items.add(new File([await (await fetch(url)).blob()], 'picture.png', {type: 'image/png'}));
            document.body.dispatchEvent(new DragEvent('drop', {bubbles: true, cancelable: true, dataTransfer: data}));
        }""",
        image["url"],
    )
    visit.wait_for_values(prompt="a green bottle", negative="blurry", steps="7", width="72", height="64", seed="1234")
    assert Path(file).is_file()


def test_pasted_infotext_is_applied(visit: Visit) -> None:
    page = visit.page
    page.get_by_role("button", name="Settings from a picture").click()
    text = "a wooden duck\nNegative prompt: fog\nSteps: 9, Sampler: Euler, CFG scale: 3, Seed: 77, Size: 64x80"
    visit.fill(infotext=text)
    page.locator("#easel-infotext-apply").click()
    visit.wait_for_values(prompt="a wooden duck", negative="fog", steps="9", seed="77", width="64", height="80")


def test_the_panel_of_an_extension_travels_with_the_picture(visit: Visit) -> None:
    page = visit.page
    page.get_by_role("button", name="Hello: a note for the picture").click()
    page.locator("#hello-note :is(textarea, input)").fill("for the kitchen")
    visit.generate("a noted picture", count=1, steps=4)
    visit.finished_picture()
    image = visit.studio.jobs()[0]["images"][0]
    assert image["spec"]["ext"] == {"hello": {"note": "for the kitchen"}}
    page.locator("#hello-note :is(textarea, input)").fill("")
    page.get_by_role("button", name="Use its settings").click()
    page.wait_for_function("document.querySelector('#hello-note :is(textarea, input)').value === 'for the kitchen'")
    assert json.dumps(image["spec"])
