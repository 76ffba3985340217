"""What is put together on the Merge tab: kept over a reload, found by typing, told apart, and told truly."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import Visit
from tests.support.adapter_files import write_lora


@pytest.fixture
def desk(visit: Visit) -> Visit:
    """The Merge tab, with two adapters of one title in the folders."""
    folder = visit.studio.data / "models" / "loras"
    for seed, name in enumerate(("ink one", "ink two")):
        write_lora(folder / f"{name}.safetensors", seed=seed, metadata={"modelspec.title": "Twin"})
    visit.studio.get("/api/v1/adapters?refresh=true")
    visit.tab("Merge")
    return visit


def add(visit: Visit, words: str, name: str) -> None:
    """Type and press Enter: no list has to be waited for."""
    field = visit.page.get_by_role("combobox", name="Add an adapter")
    field.fill(words)
    field.press("Enter")
    row(visit, name).wait_for()


def row(visit: Visit, name: str) -> Any:
    return visit.page.locator(f'.easel-merge-row[data-name="{name}"]')


def test_enter_takes_the_first_match_and_the_next_that_is_not_in_the_list_yet(desk: Visit) -> None:
    add(desk, "Blob", "easel-blob")
    add(desk, "Twin", "ink one")
    add(desk, "Twin", "ink two")
    field = desk.page.get_by_role("combobox", name="Add an adapter")
    field.fill("nothing is called so")
    field.press("Enter")
    desk.page.locator(".easel-picker-list .easel-hint").wait_for()
    assert desk.page.locator(".easel-merge-row").count() == 3


def test_adapters_of_one_title_are_told_apart(desk: Visit) -> None:
    page = desk.page
    add(desk, "Twin", "ink one")
    add(desk, "Twin", "ink two")
    field = page.get_by_role("combobox", name="Add an adapter")
    field.fill("Twin")
    options = page.locator(".easel-picker-list:not([hidden])").get_by_role("option")
    options.nth(1).wait_for()
    assert ["ink one" in options.nth(0).text_content(), "ink two" in options.nth(1).text_content()] == [True, True]
    desk.show("d1-twins-found")
    field.press("Escape")
    titles = page.locator(".easel-merge-row .easel-row-title")
    titles.filter(has_text="(ink two)").wait_for()
    assert titles.all_text_contents() == ["Twin (ink one)", "Twin (ink two)"]
    desk.tab("Adapters")
    cards = page.locator(".easel-adapter-card", has_text="Twin")
    cards.nth(1).wait_for()
    assert cards.locator(".easel-card-file").all_text_contents() == ["ink one", "ink two"]
    assert page.locator('.easel-adapter-card[data-id="easel-blob"] .easel-card-file').count() == 0
    desk.show("d2-twins-in-the-gallery")


def test_a_reload_keeps_the_draft_and_says_which_file_is_gone(desk: Visit) -> None:
    page = desk.page
    add(desk, "Blob", "easel-blob")
    add(desk, "Twin", "ink one")
    weight = row(desk, "easel-blob").get_by_label("Weight, as a number")
    weight.fill("0.35")
    weight.press("Tab")
    page.get_by_label("File name").fill("half done")
    page.get_by_label("Title", exact=True).fill("Half done")
    page.get_by_label("Method").first.select_option("ties")
    (desk.studio.data / "models" / "loras" / "ink one.safetensors").unlink()
    desk.studio.get("/api/v1/adapters?refresh=true")
    page.reload()
    desk.attached(page)
    desk.tab("Merge")
    row(desk, "easel-blob").wait_for()
    assert row(desk, "easel-blob").get_by_label("Weight, as a number").input_value() == "0.35"
    assert page.get_by_label("File name").input_value() == "half done"
    assert page.get_by_label("Title", exact=True).input_value() == "Half done"
    page.wait_for_function(
        "[...document.querySelectorAll('select')].some((each) => each.value === 'ties' && each.selectedOptions.length)"
    )
    page.locator(".easel-merge-notice", has_text="“ink one” is not in the library any more").wait_for()
    assert row(desk, "ink one").locator("[data-bad]").count() == 1
    desk.show("d3-reloaded")
    # The browser itself writes every refusal to its console.
    desk.faults[:] = [each for each in desk.faults if "/adapters/ink%20one" not in each]


def test_what_an_edited_file_says_does_not_become_the_next_file_s_title(desk: Visit) -> None:
    page = desk.page
    title = page.get_by_label("Title", exact=True)
    title.fill("Typed before")
    page.locator('.easel-merge-task[data-task="edit"]').click()
    field = page.get_by_role("combobox", name="Adapter", exact=True)
    field.fill("Blob")
    field.press("Enter")
    page.wait_for_function("[...document.querySelectorAll('input')].some((each) => each.value === 'Blob')")
    page.locator('.easel-merge-task[data-task="convert"]').click()
    assert title.input_value() == "Typed before"


def test_the_method_does_not_promise_what_the_preview_denies(desk: Visit) -> None:
    page = desk.page
    how = page.get_by_role("region", name="How")
    add(desk, "Blob", "easel-blob")
    page.get_by_role("combobox", name="Ranks").select_option("none")
    assert "same pictures as the stack" in how.text_content()
    page.get_by_role("button", name="Preview", exact=True).click()
    page.locator(".easel-merge-analysis .easel-merge-facts-list").wait_for()
    assert "The file gives the same pictures as the stack." in how.text_content()
    page.get_by_role("combobox", name="Ranks").select_option("rank")
    page.get_by_label("Rank", exact=True).fill("1")
    page.get_by_label("Rank", exact=True).press("Tab")
    page.wait_for_function("document.body.textContent.includes('This file differs from the stack: its loss is')")
    assert "same pictures" not in how.text_content()
    desk.show("d4-not-quite")
