"""The form: what is refused and where it is told, what is kept, and settings that come back from pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.browser.conftest import Visit


def test_a_refused_request_says_why_and_offers_the_defaults(visit: Visit) -> None:
    page = visit.page
    visit.fill(prompt="a square peg", width=13)
    page.locator("#easel-generate").click()
    card = page.locator(".easel-error")
    card.wait_for()
    assert "13" in card.inner_text()
    visit.show("6-error")
    page.get_by_role("button", name="Try the model's defaults").click()
    visit.until(lambda: [job["spec"]["prompt"] for job in visit.studio.jobs()[:1]] == ["a square peg"])
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
    visit.drop(image["url"])
    restored = {"prompt": "a green bottle", "negative": "blurry", "steps": "7", "width": "72", "seed": "1234"}
    visit.wait_for_values(**restored)
    assert Path(file).is_file()
    visit.kept(prompt="a green bottle", seed="1234", steps=7)
    page.reload()
    visit.attached(page)
    visit.wait_for_values(**restored)


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


@pytest.mark.parametrize(
    ("field", "written", "sentence"),
    [
        ("steps", "0", "Steps: 0 is too small, from 1 to 150 is possible."),
        ("guidance", "999", "Guidance: 999 is too large, from 1 to 30 is possible."),
        ("width", "100", "Width: 100 is not a multiple of 8, 104 is."),
        ("height", "10000", "Height: 10000 is too large, from 32 to 4096 is possible."),
        ("seed", "twelve", "A seed is a whole number from 0 to 4294967295, or empty for a new one each time."),
        ("batch", "0", "At once: 0 is too small, from 1 to 16 is possible."),
        ("count", "0", "Pictures: 0 is too small, from 1 to 100 is possible."),
    ],
)
def test_a_number_that_is_refused_is_told_beside_its_field(
    visit: Visit, field: str, written: str, sentence: str
) -> None:
    page = visit.page
    known = len(visit.studio.jobs())
    good = visit.value(field)
    visit.fill(**{field: written})
    line = page.locator(f"#easel-{field}-fault")
    assert line.inner_text() == sentence
    assert visit.value(field) == written, "what was written stays"
    visit.fill(prompt="a square peg")
    page.locator("#easel-generate").click()
    page.locator("easel-stage .easel-refusal .easel-error").wait_for()
    assert len(visit.studio.jobs()) == known
    if field == "steps":
        visit.show("6-field-fault")
    visit.fill(**{field: good})
    line.wait_for(state="detached")


def test_an_emptied_number_is_the_models_own_and_not_the_smallest(visit: Visit) -> None:
    visit.generate("an open number", steps="", count=1)
    visit.finished_picture()
    assert visit.studio.jobs()[0]["spec"]["steps"] == 6


def test_a_refusal_stands_above_the_picture_that_is_painted(visit: Visit) -> None:
    page = visit.page
    visit.generate("a long fence", steps=150, count=8)
    preview = page.locator(".easel-canvas[data-kind=preview] img")
    preview.wait_for()
    visit.fill(prompt="")
    page.locator("#easel-generate").click()
    page.locator("easel-stage .easel-refusal .easel-error").wait_for()
    assert preview.is_visible()
    assert page.locator(".easel-progress").is_visible()
    visit.show("6-refused-while-painting")
    page.locator("easel-stage .easel-refusal").get_by_role("button", name="Close").click()
    page.locator("easel-stage .easel-refusal").wait_for(state="hidden")
    assert preview.is_visible()


@pytest.mark.parametrize("name", ["More options", "Settings from a picture"])
def test_a_folded_part_of_the_form_has_nothing_to_scroll(visit: Visit, name: str) -> None:
    button = visit.page.get_by_role("button", name=name)
    button.click()
    button.click()
    visit.page.wait_for_timeout(400)
    sizes = "(button) => [button.parentElement.scrollWidth, button.parentElement.clientWidth]"
    whole, seen = button.evaluate(sizes)
    assert whole == seen
    button.scroll_into_view_if_needed()
    visit.show(f"6-folded-{name.split()[0].lower()}")


def test_what_is_written_but_not_generated_is_there_after_a_reload(visit: Visit) -> None:
    page = visit.page
    visit.fill(prompt="words not painted yet", steps=11, seed=77)
    visit.kept(prompt="words not painted yet", steps=11, seed="77")
    page.reload()
    visit.attached(page)
    visit.wait_for_values(prompt="words not painted yet", steps="11", seed="77")


def test_a_picture_of_unsaid_noise_is_told_until_it_is_read(visit: Visit) -> None:
    page = visit.page
    page.get_by_role("button", name="Settings from a picture").click()
    visit.fill(infotext="a tin duck\nSteps: 9, Sampler: Euler, CFG scale: 3, Seed: 77, Size: 64x80, Model: nobody")
    page.locator("#easel-infotext-apply").click()
    slip = page.locator(".easel-slip", has_text="does not say where its noise was made")
    slip.wait_for()
    assert "“nobody”, which is not in the library" in slip.inner_text()
    assert "The model stays “Tiny”." in slip.inner_text()
    visit.show("6-noise")
    slip.get_by_role("button", name="Close").click()
    slip.wait_for(state="detached")


def test_library_news_take_no_choice_back(visit: Visit) -> None:
    """Files are hashed in the background; each is news, while somebody chooses."""
    page = visit.page
    page.evaluate("window.news = setInterval(() => window.easel.live.tell('library', {}), 200)")
    try:
        for name in ("Easel Starter", "Tiny") * 3:
            visit.choose_model(name)
    finally:
        page.evaluate("clearInterval(window.news)")
    visit.kept(model="tiny")
    visit.wait_for_values(model="Tiny")
