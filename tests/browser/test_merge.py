"""The Merge tab in the browser: two starter adapters become one, compared, used and undone; recipes; fields."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Studio, Visit

KIT = {"Ink": "easel-ink", "Blob": "easel-blob"}


@pytest.fixture
def desk(visit: Visit) -> Visit:
    """The Merge tab, with the starter model in the form."""
    visit.choose_model("Easel Starter")
    visit.wait_for_values(model="Easel Starter")
    visit.fill(prompt="", seed="7", steps="4")
    visit.tab("Merge")
    return visit


def add(visit: Visit, title: str) -> None:
    """Pick an adapter with the keyboard alone."""
    field = visit.page.get_by_role("combobox", name="Add an adapter")
    field.fill(title)
    visit.page.locator(".easel-picker-list:not([hidden])").get_by_role("option").first.wait_for()
    field.press("ArrowDown")
    field.press("Enter")
    row(visit, KIT[title]).wait_for()


def row(visit: Visit, name: str) -> Any:
    return visit.page.locator(f'.easel-merge-row[data-name="{name}"]')


def names(visit: Visit) -> list[str]:
    return visit.page.locator(".easel-merge-row").evaluate_all("rows => rows.map((row) => row.dataset.name)")  # type: ignore[no-any-return]


def choose(visit: Visit, task: str) -> None:
    visit.page.locator(f'.easel-merge-task[data-task="{task}"]').click()


def test_two_starter_adapters_become_one(desk: Visit) -> None:
    page = desk.page
    go = page.locator(".easel-merge-go")
    assert go.is_disabled()
    add(desk, "Ink")
    add(desk, "Blob")
    row(desk, "easel-ink").get_by_label("Weight, as a number").fill("0.8")
    row(desk, "easel-ink").get_by_label("Weight, as a number").press("Tab")
    page.get_by_label("File name").fill("ink blobs")
    page.get_by_role("button", name="Preview", exact=True).click()
    shown = page.locator(":is(.easel-merge-analysis .easel-merge-facts-list, .easel-merge-analysis .easel-merge-fault)")
    shown.first.wait_for()
    assert not page.locator(".easel-merge-analysis .easel-merge-fault").count()
    # Strength in each block, energy by rank, singular values: drawn, with a bar for each input in each block.
    page.wait_for_function("document.querySelectorAll('.easel-merge-analysis .js-plotly-plot .main-svg').length >= 9")
    assert page.locator(".easel-merge-analysis .barlayer .point").count() > 10
    assert page.locator(".easel-merge-analysis .scatterlayer .point").count() >= 5
    desk.show("m1-preview")
    go.click()
    run = page.locator(".easel-merge-run").first
    page.locator(".easel-merge-run[data-status=done]").first.wait_for()
    assert "ink blobs" in run.text_content()
    desk.until(lambda: "ink blobs" in {each["id"] for each in desk.studio.get("/api/v1/adapters")["adapters"]})

    run.get_by_role("button", name="Compare with the stack").click()
    page.get_by_label("Prompts of the comparison").fill("ink style, a castle")
    run.get_by_role("button", name="Paint them").click()
    words = run.locator(".easel-merge-compare > .easel-hint")
    page.wait_for_function(
        "/apart|same/.test(document.querySelector('.easel-merge-compare > .easel-hint').textContent)"
    )
    page.wait_for_function("document.querySelector('.easel-comparison-grid img')?.naturalWidth > 0")
    run.locator(".easel-comparison-grid img").evaluate("image => image.scrollIntoView({ block: 'center' })")
    desk.show("m2-compared")
    told = words.text_content()
    assert "same" in told or float(told.split("are")[1].split("dB")[0]) > 30, told
    # Stacked, merged, and each input alone: one job, four pictures of the same seed, one grid.
    view = desk.studio.get("/api/v1/comparisons")["comparisons"][0]
    assert [row["role"] for row in view["report"]["rows"]] == ["stacked", "merged", "alone", "alone"]
    jobs = desk.studio.jobs()
    assert [job["kind"] for job in jobs].count("comparison") == 1
    assert {job["images"][0]["seed"] for job in jobs if job["kind"] == "generate"} == {7}

    run.get_by_role("button", name="Use it").click()
    page.wait_for_function(
        "import('/static/stack.js').then((module) => module.stack.rows.some((row) => row.name === 'ink blobs'))"
    )

    # The name is there now: it is asked about, nothing is overwritten.
    go.click()
    page.locator(".easel-merge-run-it").get_by_role("button", name="Replace that file").wait_for()
    run.get_by_role("button", name="Delete the file…").click()
    run.get_by_role("button", name="Really delete it").click()
    run.get_by_text("undone").wait_for()
    assert "ink blobs" not in {each["id"] for each in desk.studio.get("/api/v1/adapters?refresh=true")["adapters"]}
    # Asking for a name that exists is answered with a refusal, which Chromium writes to the console.
    desk.faults = [fault for fault in desk.faults if "409" not in fault and "422" not in fault]


def test_the_plots_follow_the_theme_and_a_click_takes_the_rank(desk: Visit) -> None:
    page = desk.page
    add(desk, "Ink")
    add(desk, "Blob")
    page.get_by_role("button", name="Preview", exact=True).click()
    curve = page.locator(".easel-merge-plot[aria-label^='Energy kept by rank']")
    curve.locator(".scatterlayer .point").first.wait_for()
    # Nothing is asked for yet: where the layers come out on average.
    assert "about rank" in curve.get_attribute("aria-label")
    stroke = """() => document.querySelector(".easel-merge-plot[aria-label^='Energy'] .js-line")?.style.stroke"""
    light = page.evaluate(stroke)
    page.evaluate("document.body.classList.toggle('dark')")
    desk.until(lambda: page.evaluate(stroke) not in (None, light))
    page.evaluate("document.body.classList.toggle('dark')")
    desk.until(lambda: page.evaluate(stroke) == light)
    box = curve.locator(".scatterlayer .point").nth(1).bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    desk.until(lambda: page.get_by_label("Rank", exact=True).input_value() == "2")
    marked = page.locator(".easel-merge-plot[aria-label^='Energy kept by rank, rank 2']")
    marked.wait_for()
    desk.show("m1-rank")


def test_what_cannot_be_made_is_one_sentence_beside_the_button(desk: Visit) -> None:
    page = desk.page
    fault = page.locator(".easel-merge-run-it .easel-merge-fault")
    add(desk, "Ink")
    add(desk, "Blob")
    before = desk.studio.get("/api/v1/merges")["merges"]

    def refused(words: str) -> None:
        page.locator(".easel-merge-go").click()
        fault.get_by_text(words).wait_for()

    page.get_by_label("File name").fill("../outside")
    refused("holds characters that file names cannot have")
    desk.show("m4-refused")
    page.get_by_label("File name").fill("fine")
    for name in ("easel-ink", "easel-blob"):
        row(desk, name).get_by_label("Weight, as a number").fill("0")
        row(desk, name).get_by_label("Weight, as a number").press("Tab")
    refused("All weights are 0")
    row(desk, "easel-ink").get_by_label("Weight, as a number").fill("1")
    row(desk, "easel-ink").get_by_label("Weight, as a number").press("Tab")
    page.get_by_label("Method").first.select_option("svd")
    page.get_by_label("Rank", exact=True).fill("2000")
    page.get_by_label("Rank", exact=True).press("Tab")
    refused("the most that a layer of this result can have")
    assert desk.studio.get("/api/v1/merges")["merges"] == before
    # The same adapter is not offered a second time.
    page.get_by_role("combobox", name="Add an adapter").fill("Ink")
    taken = page.locator(".easel-picker-list:not([hidden])").get_by_role("option", disabled=True)
    taken.first.wait_for()
    assert "is in the list" in taken.first.text_content()
    desk.faults = [fault for fault in desk.faults if "422" not in fault]


def test_a_recipe_is_saved_loaded_and_put_in_order(desk: Visit, tmp_path: Path) -> None:
    page = desk.page
    add(desk, "Ink")
    add(desk, "Blob")
    row(desk, "easel-ink").get_by_role("slider", name="Weight").press("ArrowLeft")
    row(desk, "easel-blob").locator(".easel-grip").press("ArrowUp")
    assert names(desk) == ["easel-blob", "easel-ink"]
    page.get_by_label("Method").first.select_option("ties")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Save the recipe").first.click()
    saved = tmp_path / "mine.recipe.json"
    waiting.value.save_as(saved)
    recipe = json.loads(saved.read_text())
    assert [each["name"] for each in recipe["inputs"]] == ["easel-blob", "easel-ink"]
    assert (recipe["inputs"][1]["weight"], recipe["method"], recipe["target"]["layout"]) == (0.95, "ties", "kohya")

    page.reload()
    # The form holds the model that was written last.
    page.wait_for_function("document.documentElement.dataset.easelForm === 'attached'")
    page.wait_for_function("document.querySelector('#easel-model input')?.value")
    desk.tab("Merge")
    row(desk, "easel-ink").wait_for()
    for name in ("easel-ink", "easel-blob"):
        row(desk, name).get_by_role("button", name="Take it out").click()
    assert names(desk) == []
    page.get_by_label("Recipe file").set_input_files(saved)
    row(desk, "easel-ink").wait_for()
    assert names(desk) == ["easel-blob", "easel-ink"]
    assert page.get_by_label("Method").first.input_value() == "ties"
    bad = tmp_path / "bad.json"
    bad.write_text('{"task": "cook"}')
    page.get_by_label("Recipe file").set_input_files(bad)
    page.get_by_text("This is no merge recipe").wait_for()
    assert names(desk) == ["easel-blob", "easel-ink"]


def test_each_task_asks_for_what_it_needs(desk: Visit) -> None:
    page = desk.page
    asked = {
        "bake": "Choose the checkpoint.",
        "extract": "Choose both checkpoints.",
        "checkpoint": "Choose at least two checkpoints.",
        "resize": "Choose an adapter.",
        "convert": "Choose an adapter.",
        "compare": "Choose the adapters to compare.",
        "edit": "Choose an adapter.",
    }
    for task, words in asked.items():
        choose(desk, task)
        assert page.locator(".easel-merge-run-it").get_by_text(words).is_visible(), task
        desk.show(f"m3-{task}")
    field = page.get_by_role("combobox", name="Adapter", exact=True)
    field.fill("Ink")
    page.locator(".easel-picker-list:not([hidden])").get_by_role("option").first.click()
    title = page.get_by_label("Title", exact=True)
    desk.until(lambda: title.input_value() == "Ink")
    assert page.get_by_label("Trigger words", exact=True).input_value() == "ink style"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone_width(chromium: Any, studio: Studio, scheme: str) -> None:
    studio.forget_form()
    phone = Visit(
        chromium, studio, viewport={"width": 390, "height": 844}, color_scheme=scheme, is_mobile=True, has_touch=True
    )
    page = phone.page
    # On a narrow page the tab stands in a menu.
    page.evaluate("import('/static/pictures.js').then((module) => module.showTab('merge'))")
    page.get_by_role("combobox", name="Add an adapter").fill("ink")
    page.locator(".easel-picker-list:not([hidden])").get_by_role("option").first.tap()
    page.locator(".easel-merge-row").first.wait_for()
    for task in ("merge", "bake", "extract", "checkpoint", "resize", "convert", "compare", "edit"):
        choose(phone, task)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, task
    choose(phone, "merge")
    phone.show(f"m4-phone-{scheme}")
    phone.context.close()
    assert (phone.foreign, phone.faults) == ([], [])
